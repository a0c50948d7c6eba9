package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/childproc"
	"github.com/ackmark/ackmark/internal/proof/kafkatest"
)

// A static member is killed and started again at once while Kafka does not answer: it joins when
// its will is executed, and nothing is repeated. Joined earlier, the broker would refuse the will
// (FENCED_INSTANCE_ID).
func TestStaticMemberRestartsAtOnce(t *testing.T) {
	t.Parallel()
	s := newScenario(t, brokers(t))
	g := newGate(t)
	s.gatedSidecar(g)
	app := func(n int) *childproc.Process { // one app each time: wills are an app's own affair
		return s.start(fmt.Sprintf("app-a.%d", n), os.Args[0], s.env(with(working, envInstance, "a", envName, "app-a", roleEnv, roleApp)))
	}
	a, f := app(0), s.feed(500)
	s.outputs(s.count() + 500)
	const kills = 3
	for n := range kills {
		slow := g.hold(kmsg.Produce)
		slow.await(t, "nothing is produced", slow.caught)
		s.kill(a)
		a = app(n + 1)
		f.more(600) // more than a second: it has started, and would have joined
		slow.letGo()
		s.outputs(s.count() + 500)
	}
	n := f.finish()
	s.caughtUp()
	w := s.wills()
	t.Logf("wills: %s", w)
	if w.GetExecuted() != kills || w.GetComplete() != kills || w.GetUnits() == 0 {
		t.Errorf("wills: %s; want %d complete ones, with units that were open", w, kills)
	}
	s.repeatsNothing(n)
}

// The sidecar delivers to another cluster than the one that the inputs are in: it delivers, commits
// nothing for an app that dies, and says so.
func TestNoWillInAnotherCluster(t *testing.T) {
	t.Parallel()
	s := newScenario(t, brokers(t))
	other, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(partitions, s.output))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(other.Close)
	delivered := func() (n int64) {
		for _, p := range other.PartitionInfos(s.output) {
			n += p.HighWatermark
		}
		return n
	}
	var commits int
	other.ControlKey(int16(kmsg.OffsetCommit), func(kmsg.Request) (kmsg.Response, error, bool) {
		commits++
		return nil, nil, false
	})
	sidecar := s.start(sidecarName, os.Args[0], s.env(map[string]string{roleEnv: roleSidecar, "KAFKA_BROKERS": strings.Join(other.ListenAddrs(), ",")}))
	a := s.app("app-a", roleApp, working)
	f := s.feed(500)
	kafkatest.Eventually(t, 30*time.Second, "outputs in the other cluster", func() error {
		if n := delivered(); n < 500 {
			return fmt.Errorf("%d outputs", n)
		}
		return nil
	})
	s.kill(a)
	kafkatest.Eventually(t, 30*time.Second, "the will", func() error {
		if w := s.wills(); w.GetExecuted() != 1 || w.GetRefused() != 1 || w.GetComplete() != 0 {
			return fmt.Errorf("%s, want one that is refused", w)
		}
		return nil
	})
	f.finish()
	for _, p := range []*childproc.Process{sidecar, a} {
		log, err := os.ReadFile(p.Log)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(log), "cluster") || !strings.Contains(string(log), "nobody commits for it") {
			t.Errorf("%s does not say in its log that there will be no will", p.Name)
		}
	}
	if commits > 0 {
		t.Errorf("%d commits went to the other cluster", commits)
	}
}
