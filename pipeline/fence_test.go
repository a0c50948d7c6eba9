package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/donemeta"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/pipeline/pipelinetest"
	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/producer/producertest"
)

// fencing is a fake that can be fenced, and that remembers what it was told of memberships.
type fencing struct {
	*producertest.Fake
	mu          sync.Mutex
	fns         []func(*producer.Error)
	memberships []producer.Membership
	announced   []producer.Assignment
	forgotten   atomic.Int32
}

func (f *fencing) OnFenced(fn func(*producer.Error)) (forget func()) {
	f.fns = append(f.fns, fn)
	return func() { f.forgotten.Add(1) }
}

func (f *fencing) Assign(ctx context.Context, m producer.Membership, added []producer.Assignment) error {
	f.mu.Lock()
	f.memberships, f.announced = append(f.memberships, m), append(f.announced, added...)
	f.mu.Unlock()
	return f.Fake.Assign(ctx, m, added)
}

func (f *fencing) last() (producer.Membership, []producer.Assignment) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.memberships[len(f.memberships)-1], f.announced
}

// A fenced session takes its partitions along, whichever error its units fail with before the
// consumer knows: that is no outcome, so nothing is halted, rejected or tried again under the old
// assignment. The inputs are read again in the next one, also by a static member, whose heartbeats
// go on as if nothing were.
func TestFenced(t *testing.T) {
	for _, code := range []string{producer.CodeSessionFenced, producer.CodeReleased} {
		for _, letters := range []string{"", "dlq"} {
			t.Run(fmt.Sprintf("%s, dead letters to %q", code, letters), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := &fencing{Fake: producertest.NewFake(producertest.FakeConfig{Rule: func(producertest.Delivered) producertest.Decision { return producertest.Hold() }})}
					cfg := quiet(pipeline.Config{Producer: f, Handler: pipeline.HandlerFunc(upper), DeadLetter: pipeline.DeadLetter{Topic: letters}})
					cfg.Consumer.InstanceID = "static"
					cfg.Consumer.OnHalt = func(e *consumer.HaltError) { t.Errorf("halted: %v", e) }
					h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1))
					h.Feed(pipelinetest.Record("k", "a"), pipelinetest.Record("k", "b"))
					if err := f.WaitUnits(t.Context(), 2); err != nil {
						t.Fatal(err)
					}
					_, before := f.last()
					f.Fail(&producer.Error{Code: code, Partition: -1}, f.Held()...)
					time.Sleep(time.Second) // the fence is called from a goroutine of its own: whenever that runs
					if got := len(f.Units()); got != 2 || h.State().Undelivered != 0 {
						t.Errorf("%d units were delivered before the fence, %+v", got, h.State())
					}
					f.SetRule(func(producertest.Delivered) producertest.Decision { return producertest.Ack() })
					for _, fn := range f.fns {
						fn(&producer.Error{Code: producer.CodeSessionFenced, Partition: -1})
					}
					h.WaitIdle()
					if _, after := f.last(); len(f.fns) != 1 || len(before) != 1 || len(after) != 2 || after[1].Epoch <= after[0].Epoch || after[1].Start != 0 {
						t.Errorf("%d functions; announced before the fence %+v, in all %+v", len(f.fns), before, after)
					}
					if got := written(f.Records("out")); got != "A B " || len(f.Records("dlq")) != 0 {
						t.Errorf("written: %s, %d dead letters", got, len(f.Records("dlq")))
					}
				})
			})
		}
	}
}

func written(list []producer.Record) (all string) {
	for _, r := range list {
		all += string(r.Value) + " "
	}
	return all
}

// An assignment that begins in the midst of what is done says so: with the metadata that it began
// from, and with its progress, which must not forget it either.
func TestDoneSetReachesTheProducer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fencing{Fake: producertest.NewFake(producertest.FakeConfig{Rule: func(producertest.Delivered) producertest.Decision { return producertest.Hold() }})}
		h := pipelinetest.New(t, quiet(pipeline.Config{Producer: f, Handler: pipeline.HandlerFunc(upper), Order: pipeline.PerPartition}), pipelinetest.Topic("in", 1))
		h.Feed(pipelinetest.Record("k", "a"), pipelinetest.Record("k", "b"), pipelinetest.Record("k", "c"))
		if err := f.WaitUnits(t.Context(), 3); err != nil {
			t.Fatal(err)
		}
		if _, list := f.last(); list[0].DoneSet != "" || list[0].Progress().Offset != 0 {
			t.Errorf("the first assignment begins with %+v", list[0])
		}
		f.Ack(1)
		time.Sleep(5 * time.Second) // committed by now
		if _, list := f.last(); len(list[0].Progress().Done) != 1 || list[0].Progress().Done[0] != (producer.DoneRun{Index: 1, Offset: 1, Count: 1}) {
			t.Errorf("the first assignment is at %+v", list[0].Progress())
		}
		for _, fn := range f.fns {
			fn(&producer.Error{Code: producer.CodeSessionFenced, Partition: -1})
		}
		if err := f.WaitUnits(t.Context(), 5); err != nil {
			t.Fatal(err)
		}
		_, list := f.last()
		again := list[len(list)-1]
		at := again.Progress()
		runs, err := donemeta.ParseAt(at.DoneSet, again.TopicID, at.Offset, nil)
		if again.DoneSet == "" || at.Index != 0 || at.Offset != 0 || len(at.Done) != 0 || err != nil || len(runs) != 1 || runs[0] != (donemeta.Run{First: 1, Last: 1}) {
			t.Errorf("the second assignment begins with done-set %q and is at %+v: %v, %v", again.DoneSet, at, runs, err)
		}
		f.Ack(f.Held()...)
		h.WaitIdle()
		if units := f.Units(); len(units) != 5 || units[3].Source.Offset != 0 || units[4].Source.Offset != 2 || units[4].Source.Index != 1 {
			t.Errorf("units: %+v", units)
		}
	})
}

// Every rebalance changes the generation, which whoever commits for this process must know: also
// one that adds nothing.
func TestEveryRebalanceIsAnnounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fencing{Fake: producertest.NewFake(producertest.FakeConfig{})}
		h := pipelinetest.New(t, quiet(pipeline.Config{Producer: f, Handler: pipeline.HandlerFunc(upper)}), pipelinetest.Topic("in", 4))
		check := func(when string) {
			t.Helper()
			s := h.State().Consumer
			h.Wait("the membership", func() bool { m, _ := f.last(); return m.Generation == h.State().Consumer.Membership.Generation })
			if m, _ := f.last(); m.MemberID != s.Membership.MemberID || m.Group == "" {
				t.Errorf("%s: announced %+v, is %+v", when, m, s)
			}
		}
		h.Feed(pipelinetest.Record("k", "a"))
		h.WaitIdle()
		check("at the beginning")
		first, before := f.last()
		leave := h.Join()
		check("after one joined")
		joined, during := f.last()
		if joined.Generation <= first.Generation || len(during) != len(before) {
			t.Errorf("generation %d, then %d; %d and %d assignments", first.Generation, joined.Generation, len(before), len(during))
		}
		leave()
		check("after it left")
	})
}

// Who was away from the sidecar for so long that it was taken for dead finds what it had finished
// committed, also what a former sidecar wrote, and goes on behind it: every output is written once.
func TestWillOfAnotherSidecarsAssignment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pod{t: t}
		var mu sync.Mutex
		var conns []net.Conn
		away := false
		dial := func(ctx context.Context) (net.Conn, error) {
			mu.Lock()
			gone := away
			mu.Unlock()
			if gone {
				<-ctx.Done() // no refusal: that would be a sidecar that died
				return nil, ctx.Err()
			}
			c, err := p.dial(ctx)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				conns = append(conns, c)
			}
			return c, err
		}
		cfg := quiet(pipeline.Config{
			Producer: producer.DialConfig{Target: "pod", App: "test", Dialer: dial, Logger: slog.New(slog.DiscardHandler)}.New(),
			Handler:  pipeline.HandlerFunc(upper),
		})
		cfg.Consumer.InstanceID, cfg.Consumer.CommitEvery = "static", time.Hour // what is committed is the sidecar's
		h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1), pipelinetest.Topic("out", 1), pipelinetest.Manual(), pipelinetest.Timeout(5*time.Minute))
		opts := h.Options()[1:]
		p.start(opts)
		h.Start()
		feed := func(from, n int) {
			for i := range n {
				h.Feed(pipelinetest.Record("k", fmt.Sprint("v", from+i)))
			}
			h.WaitDone(from + n)
		}
		feed(0, 10)
		p.stop()
		p.start(opts)
		feed(10, 5) // the second sidecar saw only these
		if at := h.Committed("in", 0); at > 0 {
			t.Fatalf("committed %d without a will", at)
		}
		mu.Lock()
		away = true
		for _, c := range conns {
			_ = c.Close()
		}
		mu.Unlock()
		h.WaitCommitted("in", 0, 15)
		mu.Lock()
		away = false
		mu.Unlock()
		feed(15, 3)
		if got := values(h, "out"); len(got) != 18 {
			t.Errorf("%d outputs, want each of 18 once: %v", len(got), got)
		}
		if err := h.Stop(); err != nil {
			t.Errorf("Run returned %v", err)
		}
		p.stop()
	})
}

// A member that its group does not know any more is one consumer's matter: another one that shares
// the producer keeps its partitions. When the pipeline has ended the producer calls it no more.
func TestFencedMemberOfAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fencing{Fake: producertest.NewFake(producertest.FakeConfig{})}
		h := pipelinetest.New(t, quiet(pipeline.Config{Producer: f, Handler: pipeline.HandlerFunc(upper)}), pipelinetest.Topic("in", 1))
		h.Feed(pipelinetest.Record("k", "a"))
		h.WaitIdle()
		m, before := f.last()
		fence := func(group string, consumer uint64) int {
			f.fns[0](&producer.Error{Code: producer.CodeMemberFenced, Partition: -1,
				Err: &producer.MemberFencedError{Group: group, Consumer: consumer, MemberID: m.MemberID}})
			synctest.Wait()
			h.Feed(pipelinetest.Record("k", "b"))
			h.WaitIdle()
			_, after := f.last()
			return len(after)
		}
		if n := fence("another", m.Consumer); n != len(before) {
			t.Error("another group's member took the partitions along")
		}
		if n := fence(m.Group, m.Consumer+1); n != len(before) {
			t.Error("another consumer's member took the partitions along")
		}
		if n := fence(m.Group, m.Consumer); n != len(before)+1 {
			t.Errorf("its own member's end has it join again: %d assignments, %d before", n, len(before))
		}
		if err := h.Stop(); err != nil {
			t.Error(err)
		}
		if n := f.forgotten.Load(); n == 0 {
			t.Error("the producer still calls it")
		}
	})
}

// committing is a fake that was used exactly-once.
type committing struct{ *producertest.Fake }

func (committing) CommitUnits() error    { return nil }
func (committing) Committing() bool      { return true }
func (committing) Crossed(uint64, int64) {}

// A producer that commits offsets is refused by a pipeline whose consumer commits them, too.
func TestCommittingProducerIsRefused(t *testing.T) {
	p := committing{producertest.NewFake(producertest.FakeConfig{})}
	cfg := quiet(pipeline.Config{Producer: p, Handler: pipeline.HandlerFunc(upper)})
	cfg.Consumer.Brokers, cfg.Consumer.Group, cfg.Consumer.Topics = []string{"localhost:1"}, "g", []string{"in"}
	err := pipeline.Run(t.Context(), cfg)
	if e, ok := errors.AsType[*pipeline.ConfigError](err); !ok || e.Field != "Producer" || e.Remedy == "" {
		t.Errorf("%v", err)
	}
}

// thoughtful is a fake that takes its time to become exactly-once, and minds being asked meanwhile.
type thoughtful struct {
	committing
	told, early atomic.Bool
}

// CommitUnits implements producer.Committer.
func (p *thoughtful) CommitUnits() error {
	time.Sleep(time.Second)
	p.told.Store(true)
	return nil
}

// Check implements producer.Producer.
func (p *thoughtful) Check(context.Context) error {
	if !p.told.Load() {
		p.early.Store(true)
	}
	return nil
}

// A producer is told that it is exactly-once before anything is asked of it: to be asked begins a
// session with the sidecar, and one that began at-least-once stays so.
func TestModeIsToldFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &thoughtful{committing: committing{producertest.NewFake(producertest.FakeConfig{})}}
		cfg := quiet(pipeline.Config{Mode: pipeline.ExactlyOnce, Producer: p, Handler: pipeline.HandlerFunc(upper)})
		h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1))
		time.Sleep(10 * time.Second)
		if p.early.Load() || !p.told.Load() {
			t.Errorf("asked before it was told: %v; told: %v", p.early.Load(), p.told.Load())
		}
		if err := h.Stop(); err != nil {
			t.Error(err)
		}
	})
}
