package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/producer"
)

// A sidecar so small that it has no room for what is done above a slow input of two partitions:
// they begin anew, nothing halts, and a reader of committed records sees every input's output once.
func TestExactlyOnceWithoutRoom(t *testing.T) {
	t.Parallel()
	const each, slow = 12_000, "slow"
	s := newScenario(t, brokers(t))
	// Room for 64 entries a record, two for each input: above one slow input for 8,191 others.
	sidecar := s.sidecarAt(s.socket(), "--transactional-id", s.group, "--limits-sessions", "1", "--limits-records", "500")
	hold := filepath.Join(s.dir, holdFile)
	if err := os.WriteFile(hold, []byte(slow), 0o600); err != nil {
		t.Fatal(err)
	}
	var all []*kgo.Record
	for i := range 2 * each {
		r := &kgo.Record{Partition: int32(i % 2), Key: []byte(strconv.Itoa(i / 2 % 97)), Value: []byte(strconv.Itoa(i))}
		if i < 2 {
			r.Value = []byte(slow)
		}
		all = append(all, r)
	}
	client := s.plain(kgo.DefaultProduceTopic(s.input), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err := client.ProduceSync(t.Context(), all...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	app := s.app("app", roleApp, map[string]string{envMode: "exactly-once", envSession: longSession.String(), envHold: hold, envLanes: "16"})
	begun := time.Now()
	s.await("a want of room", func() error {
		if log := readLog(t, app.Log); !strings.Contains(log, "partitions begin anew from what is done") || !strings.Contains(log, producer.CodeNoRoom) {
			return fmt.Errorf("the app has not heard of one, with %d outputs", s.count())
		}
		return nil
	})
	t.Logf("a want of room after %v", time.Since(begun))
	if err := os.Remove(hold); err != nil {
		t.Fatal(err)
	}
	s.caughtUp()
	t.Logf("everything is committed after %v", time.Since(begun))
	if log := readLog(t, app.Log); strings.Contains(log, "partition halted") {
		t.Error("a partition halted")
	}
	s.terminate(app, sidecar)
	s.seenOnce(uint64(len(all)))
}
