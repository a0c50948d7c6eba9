package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/childproc"
	"github.com/ackmark/ackmark/pipeline"
)

// seen counts, by a reader of committed records, how often the outputs of each input are there. The
// end is that of the log, so records of an open transaction would be waited for.
func (s *scenario) seen() map[string]int { return s.seenBy(committedOnly()) }

func (s *scenario) seenBy(reader ...kgo.Opt) map[string]int {
	s.Helper()
	cl := s.plain(append(reader, kgo.ConsumeTopics(s.output), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.KeepControlRecords())...)
	ends, err := s.kafka.Admin().ListEndOffsets(context.Background(), s.output)
	if err != nil {
		s.Fatal(err)
	}
	counts, at := map[string]int{}, map[int32]int64{}
	there := func() bool {
		for p, o := range ends[s.output] {
			if at[p] < o.Offset {
				return false
			}
		}
		return true
	}
	ctx, cancel := context.WithTimeout(context.Background(), settle)
	defer cancel()
	for !there() {
		f := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			s.Fatalf("a reader of committed records stands at %v of %v: a transaction was left open", at, ends[s.output])
		}
		f.EachRecord(func(r *kgo.Record) {
			at[r.Partition] = r.Offset + 1
			if r.Attrs.IsControl() {
				return
			}
			for _, h := range r.Headers {
				if h.Key == pipeline.HeaderSource {
					counts[string(h.Value)]++
				}
			}
		})
	}
	return counts
}

// seenOnce holds what is seen against the number of inputs: every one once, none lost, none
// repeated.
func (s *scenario) seenOnce(inputs uint64) {
	s.Helper()
	counts := s.seen()
	repeated := 0
	for source, n := range counts {
		if n > 1 {
			if repeated++; repeated <= 5 {
				s.Errorf("%s: %d times", source, n)
			}
		}
	}
	s.Logf("%d inputs: %d lost, %d repeated", inputs, int(inputs)-len(counts), repeated)
	if repeated > 0 || uint64(len(counts)) != inputs {
		s.Errorf("%d inputs, %d of them have outputs, %d repeated", inputs, len(counts), repeated)
	}
}

// exactly starts a process of its own transactional id and instance id, which is the same one again
// when it is started again.
func (s *scenario) exactly(n int, more map[string]string) *childproc.Process {
	s.Helper()
	env := map[string]string{
		"SIDECAR": "direct", envID: fmt.Sprintf("%s-%d", s.group, n), envInstance: fmt.Sprintf("i-%d", n), envTimes: "1ms", envTxnTimeout: "5s",
	}
	for k, v := range more {
		env[k] = v
	}
	return s.app(fmt.Sprint("app-", n), roleApp, env)
}

const exactlyKills = 8

// One process is killed again and again in the middle of its work: a reader of committed records
// sees the output of every input once, and the process that is started again goes on at once.
func TestExactlyOnceKilled(t *testing.T) {
	t.Parallel()
	s := newScenario(t, brokers(t))
	p := s.exactly(0, nil)
	f := s.feed(300)
	s.outputs(300)
	for n := range exactlyKills {
		f.more(uint64(200 + 37*n)) // another phase of a window each time
		s.kill(p)
		p = s.exactly(0, nil)
		s.outputs(s.count() + 200)
	}
	n := f.finish()
	s.caughtUp()
	s.terminate(p)
	s.seenOnce(n)
	s.allWhole(n)
}

// Processes of one group come, are killed and go in order, so that partitions change hands within
// windows; some inputs have an output that the topic does not take, and become dead letters inside
// the transaction.
func TestExactlyOnceRebalances(t *testing.T) {
	t.Parallel()
	s := newScenario(t, brokers(t))
	more := map[string]string{envInstance: "", envPoison: "97"}
	a := s.exactly(0, more)
	f := s.feed(300)
	s.outputs(300)
	for n := range 3 {
		b := s.exactly(1, more)
		s.outputs(s.count() + 600)
		f.more(uint64(100 + 41*n))
		s.terminate(a) // its partitions go to the other one
		s.outputs(s.count() + 300)
		a = s.exactly(0, more)
		s.outputs(s.count() + 600)
		f.more(uint64(50 + 31*n))
		s.kill(b) // its partitions wait for its session
		s.outputs(s.count() + 300)
	}
	n := f.finish()
	s.caughtUp()
	s.terminate(a)
	s.seenOnce(n)
	s.allWhole(n)
}

// A second process of the same transactional id takes it over: the first one ends, and says why.
func TestExactlyOnceTaken(t *testing.T) {
	t.Parallel()
	s := newScenario(t, brokers(t))
	first := s.exactly(0, map[string]string{envInstance: ""})
	f := s.feed(300)
	s.outputs(300)
	second := s.exactly(0, map[string]string{envInstance: ""})
	select {
	case <-first.Done():
	case <-time.After(settle):
		t.Fatal("the first process goes on")
	}
	if log := tail(first, 50); !strings.Contains(log, "TRANSACTIONAL_ID_TAKEN") || !strings.Contains(log, "producer epoch") {
		t.Errorf("the first process ended, and does not say that its id was taken, and by which epoch:\n%s", log)
	}
	s.outputs(s.count() + 600)
	n := f.finish()
	s.caughtUp()
	s.terminate(second)
	s.seenOnce(n)
	s.allWhole(n)
}
