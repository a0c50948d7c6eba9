package e2e

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/ackmark/ackmark/internal/childproc"
	"github.com/ackmark/ackmark/internal/proof/kafkatest"
)

// idsLive is how long the brokers of [forgetful] know a transactional id that nobody uses: longer
// than it takes a member of a group to get the partitions of one that is dead.
const idsLive = 10 * time.Second

// producersLive is how long their partitions know a producer that writes nothing.
const producersLive = time.Second

// abortEvery is how often a broker looks for transactions that have timed out.
const abortEvery = "transaction.abort.timed.out.transaction.cleanup.interval.ms"

// forgetful is a broker on which transactional ids expire within seconds, not after a week.
func forgetful(t *testing.T) *kafkatest.Cluster {
	t.Helper()
	return kafkatest.Shared(t, kafkatest.Config{Properties: map[string]string{
		"transactional.id.expiration.ms":                             fmt.Sprint(idsLive.Milliseconds()),
		"transaction.remove.expired.transaction.cleanup.interval.ms": "200",
		abortEvery:                  "200",
		"producer.id.expiration.ms": fmt.Sprint(producersLive.Milliseconds()),
		"producer.id.expiration.check.interval.ms": "200",
	}})
}

// The ids of a process: two for outputs, and two for windows without.
var (
	ofOutputs = []string{"-0", "-1"}
	ofOffsets = []string{"-o0", "-o8"}
	allIDs    = append(slices.Clone(ofOutputs), ofOffsets...)
)

// known are the transactional ids that the coordinators know, as they have them.
func (s *scenario) known(ends ...string) (there []kadm.DescribedTransaction) {
	s.Helper()
	var ids []string
	for _, end := range ends {
		ids = append(ids, s.group+end)
	}
	all, err := s.kafka.Admin().DescribeTransactions(s.Context(), ids...)
	if err != nil {
		s.Fatal(err)
	}
	for _, d := range all.Sorted() {
		switch {
		case d.Err == nil:
			there = append(there, d)
		case !errors.Is(d.Err, kerr.TransactionalIDNotFound):
			s.Fatal(d.Err)
		}
	}
	return there
}

// expires waits until the coordinators have forgotten these ids. Meanwhile is called again and
// again.
func (s *scenario) expires(meanwhile func(), ends ...string) {
	s.Helper()
	s.await("the ids to expire", func() error {
		meanwhile()
		if there := s.known(ends...); len(there) > 0 {
			return fmt.Errorf("%+v", there)
		}
		return nil
	})
}

func nothing() {}

// throughAndDirect plays it with a sidecar and with a producer in the process. Start starts the
// process that has the ids, and the app, which is the same one with a producer of its own.
func throughAndDirect(t *testing.T, play func(s *scenario, start func(name string) (holder, app *childproc.Process))) {
	t.Helper()
	t.Run("sidecar", func(t *testing.T) {
		t.Parallel()
		s := newScenario(t, forgetful(t))
		play(s, func(name string) (holder, app *childproc.Process) {
			return s.transactional(), s.app(name, roleApp, map[string]string{envMode: "exactly-once", envTimes: "1ms"})
		})
	})
	t.Run("direct", func(t *testing.T) {
		t.Parallel()
		s := newScenario(t, forgetful(t))
		play(s, func(name string) (holder, app *childproc.Process) {
			p := s.app(name, roleApp, map[string]string{"SIDECAR": "direct", envID: s.group, envTimes: "1ms", envTxnTimeout: "5s"})
			return p, p
		})
	})
}

func (s *scenario) endAll(ps ...*childproc.Process) {
	s.Helper()
	for i, p := range ps {
		if i == 0 || p != ps[0] {
			s.terminate(p)
		}
	}
}

// A pod has nothing to do for longer than partitions know its producers, and goes on. For longer
// than transactional ids live its handlers have nothing to write, and then they have again: the ids
// of its outputs have expired, that of windows without outputs has not. It goes on.
func TestExactlyOnceIdsOfOutputsExpire(t *testing.T) {
	t.Parallel()
	throughAndDirect(t, func(s *scenario, start func(string) (holder, app *childproc.Process)) {
		holder, app := start("app")
		total := uint64(0)
		for range 2 {
			f := s.feed(300)
			f.more(600)
			total += f.finish()
			s.caughtUp()
			<-time.After(2 * producersLive) // partitions forget the producers, and their coordinator does not
		}
		s.expires(func() { s.produceInputs(silent, partitions); s.caughtUp() }, ofOutputs...)
		if there := s.known(ofOffsets...); len(there) == 0 {
			s.Fatal("no id is known any more")
		}
		f := s.feed(300)
		f.more(600)
		total += f.finish()
		s.caughtUp()
		if log := readLog(s.T, holder.Log); !strings.Contains(log, "has expired") {
			s.Error("nobody says that an id has expired")
		}
		s.endAll(app, holder)
		s.seenOnce(total)
	})
}

// A pod has nothing to do for twice as long as its transactional ids live. It has kept those of
// windows without outputs, and goes on.
func TestExactlyOnceIdleBeyondExpiry(t *testing.T) {
	t.Parallel()
	throughAndDirect(t, func(s *scenario, start func(string) (holder, app *childproc.Process)) {
		holder, app := start("app")
		f := s.feed(300)
		f.more(600)
		total := f.finish()
		s.caughtUp()
		idle := time.Now()
		s.expires(nothing, ofOutputs...)
		s.await("the ids to be kept", func() error {
			if there := s.known(ofOffsets...); len(there) != len(ofOffsets) {
				s.Fatalf("of them are known: %+v", there)
			}
			if d := time.Since(idle); d < 2*idsLive {
				return fmt.Errorf("%v", d)
			}
			return nil
		})
		f = s.feed(300)
		f.more(300)
		total += f.finish()
		s.caughtUp()
		s.endAll(app, holder)
		s.seenOnce(total)
	})
}

// A pod is killed within its work, and started again when its transactions have timed out and its
// ids have expired.
func TestExactlyOnceRestartedBeyondExpiry(t *testing.T) {
	t.Parallel()
	throughAndDirect(t, func(s *scenario, start func(string) (holder, app *childproc.Process)) {
		holder, app := start("app")
		f := s.feed(300)
		f.more(437)
		s.kill(holder)
		if app != holder {
			s.kill(app)
		}
		s.expires(nothing, allIDs...)
		holder, app = start("next")
		s.outputs(s.count() + 300)
		n := f.finish()
		s.caughtUp()
		s.endAll(app, holder)
		s.seenOnce(n)
	})
}

// A process is stopped within its work for so long that another one of its id has begun, committed
// what the first one had in hand, ended, and is forgotten. It wakes, and commits nothing of it once
// more.
func TestExactlyOnceWakesBeyondExpiry(t *testing.T) {
	t.Parallel()
	s := newScenario(t, forgetful(t))
	direct := map[string]string{"SIDECAR": "direct", envID: s.group, envTimes: "1ms", envTxnTimeout: "5s"}
	older := s.app("older", roleApp, direct)
	total := uint64(0)
	f := s.feed(500)
	s.outputs(1000)
	if err := older.Pause(); err != nil {
		t.Fatal(err)
	}
	total += f.finish()
	younger := s.app("younger", roleApp, direct)
	s.caughtUp()
	s.terminate(younger)
	s.expires(nothing, allIDs...)
	if err := older.Resume(); err != nil {
		t.Fatal(err)
	}
	f = s.feed(300)
	select {
	case <-older.Done():
	case <-time.After(settle):
		t.Fatal("the older process goes on")
	}
	if log := tail(older, 50); !strings.Contains(log, "TRANSACTIONAL_ID_TAKEN") {
		t.Errorf("the older process ended, and does not say why:\n%s", log)
	}
	last := s.app("last", roleApp, direct)
	f.more(300)
	total += f.finish()
	s.caughtUp()
	s.terminate(last)
	s.seenOnce(total)
}
