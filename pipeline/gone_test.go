package pipeline_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/podstate"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/pipeline/pipelinetest"
	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/producer/producertest"
)

// refusing is a fake that may refuse whole calls.
type refusing struct {
	*producertest.Fake
	why atomic.Pointer[producer.Error]
}

func (f *refusing) Deliver(ctx context.Context, units []producer.Unit, r producer.Reporter) error {
	if why := f.why.Load(); why != nil {
		return why
	}
	return f.Fake.Deliver(ctx, units, r)
}

// held is a fake, all of whose units the test decides about, and a configuration with it in which
// no partition may halt.
func held(t *testing.T) (*refusing, pipeline.Config) {
	f := &refusing{Fake: producertest.NewFake(producertest.FakeConfig{Rule: func(producertest.Delivered) producertest.Decision { return producertest.Hold() }})}
	cfg := quiet(pipeline.Config{Producer: f, Handler: pipeline.HandlerFunc(upper)})
	cfg.Consumer.OnHalt = func(e *consumer.HaltError) { t.Errorf("halted: %v", e) }
	return f, cfg
}

// What a producer gives up, since its partition has left this process, is no reason to wait when
// the process is stopped, although its group has not told it so: nobody will finish it here. It is
// not done by that: nothing from it on is committed.
func TestShutdownDoesNotWaitForWhatIsGone(t *testing.T) {
	for _, code := range []string{producer.CodeSessionFenced, producer.CodeMemberFenced, producer.CodeReleased} {
		for _, when := range []string{"before", "refused before", "meanwhile"} {
			t.Run(code+", "+when, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					gone := &producer.Error{Code: code, Partition: -1}
					f, cfg := held(t)
					h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1))
					h.Feed(pipelinetest.Record("k", "a"))
					if err := f.WaitUnits(t.Context(), 1); err != nil {
						t.Fatal(err)
					}
					if when == "refused before" {
						f.why.Store(gone)
					}
					h.Feed(pipelinetest.Record("k", "b"))
					h.Wait("the second one", func() bool { return len(f.Units()) == 2 || h.State().Dropped == 1 })
					f.why.Store(nil)
					h.Feed(pipelinetest.Record("k", "c"))
					h.Wait("the third one", func() bool { return int64(len(f.Units()))+h.State().Dropped == 3 })
					giveUp := func() {
						for _, u := range f.Units() {
							if u.Source.Offset == 1 {
								f.Fail(gone, u.ID)
							} else {
								f.Ack(u.ID)
							}
						}
					}
					if when == "meanwhile" {
						time.AfterFunc(time.Second, giveUp)
					} else {
						giveUp()
						_, o := oldest(t, h, podstate.Held)
						if o.Offset != 1 || !strings.Contains(o.Error, code) || !strings.Contains(o.Next, "has left this process") {
							t.Errorf("the mark stands: %+v", o)
						}
					}
					begun := time.Now()
					if err := h.Stop(); err != nil {
						t.Errorf("Run returned %v", err)
					}
					if took := time.Since(begun); took > 3*time.Second {
						t.Errorf("it took %s", took)
					}
					if s := h.State(); h.Committed("in", 0) != 1 || s.Dropped != 1 || s.Undelivered != 0 || s.Done != 2 {
						t.Errorf("committed %d, %+v", h.Committed("in", 0), s)
					}
				})
			})
		}
	}
}

// Nor is it in a rebalance: its partition goes at once, and its next assignment has it again. The
// one that it was given up in never does.
func TestRevokeDoesNotWaitForWhatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, cfg := held(t)
		h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 2))
		h.Wait("both partitions", func() bool { return len(h.State().Consumer.Partitions) == 2 })
		h.FeedTo(0, pipelinetest.Record("", "a"))
		h.FeedTo(1, pipelinetest.Record("", "b"))
		if err := f.WaitUnits(t.Context(), 2); err != nil {
			t.Fatal(err)
		}
		f.SetRule(func(producertest.Delivered) producertest.Decision { return producertest.Ack() })
		f.Fail(&producer.Error{Code: producer.CodeReleased, Partition: -1}, 0, 1)
		begun := time.Now()
		leave := h.Join()
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("the rebalance took %s", took)
		}
		kept := h.State().Consumer.Partitions[0].Partition
		leave()
		h.WaitCommitted("in", 1-kept, 1)
		units, seen := f.Units(), map[string]bool{}
		for _, u := range units {
			at := fmt.Sprint(u.Source.Epoch, "/", u.Source.Index)
			if seen[at] {
				t.Errorf("an input was delivered twice in one assignment: %s", at)
			}
			seen[at] = true
		}
		if len(units) != 3 || h.Committed("in", kept) > 0 {
			t.Errorf("%d units; committed %d of what was given up and did not leave", len(units), h.Committed("in", kept))
		}
	})
}
