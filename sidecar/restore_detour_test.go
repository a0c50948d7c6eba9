//go:build (linux || darwin) && !portable

package sidecar_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// While its sidecar was away a client went to Kafka directly (fallback), and left its session with
// it behind: its Hello names no sidecar before this one. It lives, and is the session's own client.
func TestAClientComesBackFromItsDetour(t *testing.T) {
	inPod(t, func(t *testing.T, b *bubble, dir string) {
		cl, err := kgo.NewClient(kgo.SeedBrokers(b.kafka.ListenAddrs()...), kgo.Dialer(b.net.DialContext), kgo.DisableClientMetrics())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(cl.Close)
		m := &mortal{b: b, kafka: cl}
		m.join(t)
		m.connect(t, &sidecarpb.Hello{SessionId: "s", ClientId: "random of this client"})
		id := b.topicID(t)
		m.assignAs(&sidecarpb.AssignedPartition{Epoch: 1, Topic: "in", TopicId: id[:]})
		m.units(from(0, 1, 2)...)
		m.reported(3)
		synctest.Wait()
		left := asKilled(t, dir)
		b.successor(t, left)
		time.Sleep(500 * time.Millisecond) // of a grace of a second
		again := openStream(t, b.conn)
		again.send(helloMsg(&sidecarpb.Hello{Version: 1, App: "app", SessionId: "s", ClientId: "random of this client", Features: []string{"resume"}}))
		if err := again.until(func() bool { return again.welcome != nil }); err != nil {
			t.Errorf("a living client is refused: %v", err)
		}
		time.Sleep(20 * time.Second)
		if n := b.members(t); n != 1 {
			t.Errorf("%d members: the group was left for a process that lives", n)
		}
	})
}
