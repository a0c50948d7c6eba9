package e2e

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/childproc"
	"github.com/ackmark/ackmark/internal/donemeta"
	"github.com/ackmark/ackmark/internal/proof/kafkatest"
)

// lateCommit is an app that is killed while its commit is on the network, and a sidecar whose will
// is stopped at a point of its way.
type lateCommit struct {
	*scenario
	app, sidecar *gate
	late         *held // the commit of the app
	stopped      *held // the request of the sidecar, or nil
	f            *feeder
}

// raceCommit kills an app whose commit is on the network, and returns when its will has come to a
// request of this kind that follows its commit; key anyTime: when all is over.
func raceCommit(t *testing.T, key kmsg.Key) *lateCommit {
	s := newScenario(t, brokers(t))
	r := &lateCommit{scenario: s, app: newGate(t), sidecar: newGate(t)}
	s.gatedSidecar(r.sidecar)
	slow := map[string]string{envTimes: "2ms", envSession: longSession.String(), envCommit: "300ms"}
	gated := map[string]string{envProxy: r.app.addr()}
	for k, v := range slow {
		gated[k] = v
	}
	a := s.app("app-a", roleApp, gated)
	s.app("app-b", roleApp, slow)
	h := s.watchHolders()
	r.f = s.feed(500)
	s.settled(2)
	h.awaitWork(a.Name, 150)
	r.late = r.app.hold(kmsg.OffsetCommit)
	r.late.await(t, "it has not committed", r.late.caught)
	// What is acknowledged from now on is above the commit on the network, and the will's to
	// commit. Its heartbeats wait behind that commit: the broker takes it for as long as its
	// session lasts.
	held := time.Now()
	r.awaitAcked(a.Name, 150)
	if took := time.Since(held); took > longSession/2 {
		t.Fatalf("150 inputs of the app took %s: its session ends before its commit can be late", took)
	}
	if key != anyTime {
		r.stopped = r.sidecar.shut(key, kmsg.OffsetCommit) // a first, hasty commit of the will may be given up, and is asked for again
	}
	s.kill(a)
	if r.stopped != nil {
		r.stopped.await(t, "the will has not come to it", r.stopped.caught)
	} else {
		r.executed()
	}

	return r
}

// awaitAcked waits until the sidecar has heard of so many more inputs of an app that they are done:
// those it would commit if the app died now.
func (r *lateCommit) awaitAcked(app string, more int64) {
	r.Helper()
	marks := func() (sum int64) {
		for _, session := range r.status().GetSessions() {
			if session.GetApp() == app {
				for _, p := range session.GetPartitions() {
					sum += p.GetAckMark()
				}
			}
		}
		return sum
	}
	begun := marks()
	r.await(fmt.Sprintf("%d more acknowledged inputs of %s", more, app), func() error {
		if n := marks() - begun; n < more {
			return fmt.Errorf("%d so far", n)
		}
		return nil
	})
}

// gatedSidecar is a sidecar with a gate between it and the brokers.
func (s *scenario) gatedSidecar(g *gate) *childproc.Process {
	s.Helper()
	return s.start(sidecarName, os.Args[0], s.env(map[string]string{roleEnv: roleSidecar, envProxy: g.addr()}))
}

func (r *lateCommit) executed() {
	r.Helper()
	kafkatest.Eventually(r.T, 30*time.Second, "the will", func() error {
		if w := r.wills(); w.GetExecuted() != 1 || w.GetRunning() != 0 {
			return fmt.Errorf("%s", w)
		}
		return nil
	})
}

// arrive delivers the late commit and tells how many inputs it took back, in all partitions: the
// group called them done, and does not any more.
func (r *lateCommit) arrive() (back int64) {
	r.Helper()
	before := r.committedInputs()
	r.late.deliver(r.T)
	for p, n := range r.committedInputs() {
		back += max(0, before[p]-n)
	}
	return back
}

// committedInputs counts, by partition, the inputs that the group's commits call done: those below
// the offset, and those of the done-set above it.
func (r *lateCommit) committedInputs() map[int32]int64 {
	r.Helper()
	topics, err := r.kafka.Admin().ListTopics(r.Context(), r.input)
	if err != nil {
		r.Fatal(err)
	}
	all, err := r.kafka.Admin().FetchOffsets(r.Context(), r.group)
	if err != nil {
		r.Fatal(err)
	}
	m := map[int32]int64{}
	for p, o := range all.Offsets()[r.input] {
		m[p] = o.At
		if o.Metadata == "" {
			continue
		}
		set, err := donemeta.ParseAt(o.Metadata, topics[r.input].ID, o.At, nil)
		if err != nil {
			r.Fatalf("partition %d is committed at %d with %q: %v", p, o.At, o.Metadata, err)
		}
		for _, run := range set {
			m[p] += run.Last - run.First + 1
		}
	}
	return m
}

// end feeds on, and judges.
func (r *lateCommit) end() (duplicated uint64) {
	r.Helper()
	r.f.more(500)
	n := r.f.finish()
	r.caughtUp()
	r.Logf("wills: %s", r.wills())
	return r.verify(n).result.Duplicated
}

// A commit of the dead app that the broker takes after the will's, and before the will has read the
// offsets back: it is repaired, and nothing is repeated.
func TestLateCommitRepaired(t *testing.T) {
	r := raceCommit(t, kmsg.OffsetFetch)
	back := r.arrive()
	if back == 0 {
		t.Fatalf("the broker did not take the commit: nothing was tested (its answer: %x)", r.late.answer)
	}
	r.stopped.letGo()
	r.executed()
	r.mayRewind = partitions
	w := r.wills()
	t.Logf("the late commit took back %d inputs; %d partitions were repaired", back, w.GetRepaired())
	if w.GetRepaired() == 0 {
		t.Error("no commit was repaired")
	}
	if duplicated := r.end(); duplicated > 0 {
		t.Errorf("%d outputs were done twice", duplicated)
	}
}

// The same between the last reading and the leave: it costs a repeat of what the will had added,
// never a loss.
func TestLateCommitBeforeLeave(t *testing.T) {
	r := raceCommit(t, kmsg.LeaveGroup)
	back := r.arrive()
	if back == 0 {
		t.Fatalf("the broker did not take the commit: nothing was tested (its answer: %x)", r.late.answer)
	}
	r.stopped.letGo()
	r.executed()
	r.mayRewind = partitions
	duplicated := r.end()
	t.Logf("the late commit took back %d inputs, between the last reading and the leave: %d outputs were done twice", back, duplicated)
	if duplicated > uint64(back) {
		t.Errorf("%d outputs were done twice; the will had added %d", duplicated, back)
	}
}

// After the leave the broker refuses it.
func TestLateCommitAfterLeave(t *testing.T) {
	r := raceCommit(t, anyTime)
	if back := r.arrive(); back != 0 {
		t.Errorf("the broker took a commit of a member that had left: %d inputs back", back)
	}
	if duplicated := r.end(); duplicated > 0 {
		t.Errorf("%d outputs were done twice", duplicated)
	}
}
