package pipeline_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/pipeline/pipelinetest"
	"github.com/ackmark/ackmark/producer"
)

// feedKeys feeds each key's inputs 0 to each−1, in turn and in some parts: keys move while more of
// them comes.
func feedKeys(h *pipelinetest.Harness, keys, each int) {
	var in []*kgo.Record
	for i := range each {
		for k := range keys {
			in = append(in, pipelinetest.Record("key"+strconv.Itoa(k), strconv.Itoa(i)))
		}
		if i%5 == 4 || i == each-1 {
			h.Feed(in...)
			in = nil
			time.Sleep(50 * time.Millisecond)
		}
	}
}

// Keys are hashed to lanes at first, so some lanes get several and some none: the keys move. Two
// keys in one slot, or one that is left over at the end, make a run longer now and then.
func TestSlowKeysAreSharedOut(t *testing.T) {
	const keys, lanes, each, takes = 40, 20, 50, 50 * time.Millisecond
	const ideal = keys * each * takes / lanes
	var took []time.Duration
	for range 11 { // each pipeline hashes in its own way
		synctest.Test(t, func(t *testing.T) {
			cfg := quiet(pipeline.Config{Concurrency: lanes})
			cfg.Handler = pipeline.HandlerFunc(func(_ context.Context, in *consumer.Message) ([]producer.Record, error) {
				time.Sleep(takes)
				return []producer.Record{{Topic: "out", Key: in.Key, Value: in.Value}}, nil
			})
			h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 6), pipelinetest.Topic("out", 1), pipelinetest.Timeout(10*time.Minute))
			begun := time.Now()
			feedKeys(h, keys, each)
			h.WaitDone(keys * each)
			took = append(took, time.Since(begun))
			if err := inOrder(h.Outputs("out"), keys, each); err != nil {
				t.Error(err)
			}
		})
	}
	slices.Sort(took)
	if median, longest := took[len(took)/2], took[len(took)-1]; median > ideal*13/10 || longest > ideal*2 {
		t.Errorf("%v at the median, %v at most, for %d keys in %d lanes; ideal is %v", median, longest, keys, lanes, ideal)
	}
}

// An input that takes for ever holds up its key, not those that were hashed to the same lane.
func TestOneSlowKeyHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const keys, each = 30, 20
		cfg := quiet(pipeline.Config{Concurrency: 3})
		stuck := make(chan struct{})
		cfg.Handler = pipeline.HandlerFunc(func(_ context.Context, in *consumer.Message) ([]producer.Record, error) {
			if string(in.Key) == "key7" {
				<-stuck
			}
			return []producer.Record{{Topic: "out", Key: in.Key, Value: in.Value}}, nil
		})
		h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 4), pipelinetest.Topic("out", 1))
		feedKeys(h, keys, each)
		h.WaitDone((keys - 1) * each)
		close(stuck)
		h.WaitDone(keys * each)
		if err := inOrder(h.Outputs("out"), keys, each); err != nil {
			t.Error(err)
		}
	})
}

// fickle is a producer that decides late, and fails a unit now and then. It judges the order of
// each key: nothing overtakes what is not decided, and nothing overtakes what failed.
type fickle struct {
	producer.Producer // nil: nothing else is called
	mu                sync.Mutex
	rng               *rand.Rand
	keys              map[string]*fickleKey
	failures          int
	wrong             []string
}

type fickleKey struct {
	last   int               // the highest that came
	failed map[int]time.Time // since when each that failed waits to come again
}

func (f *fickle) Deliver(_ context.Context, units []producer.Unit, r producer.Reporter) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, u := range units {
		key, n := string(u.Outputs[0].Key), 0
		_, _ = fmt.Sscan(string(u.Outputs[0].Value), &n)
		k := f.keys[key]
		if k == nil {
			k = &fickleKey{last: -1, failed: map[int]time.Time{}}
			f.keys[key] = k
		}
		_, again := k.failed[n]
		delete(k.failed, n)
		for other, since := range k.failed {
			if other < n && time.Since(since) > 0 {
				f.wrong = append(f.wrong, fmt.Sprintf("%s: %d came before %d, which had failed %v ago", key, n, other, time.Since(since)))
			}
		}
		if !again && n != k.last+1 {
			f.wrong = append(f.wrong, fmt.Sprintf("%s: %d came after %d", key, n, k.last))
		}
		k.last = max(k.last, n)
		fails, after := f.rng.IntN(8) == 0, time.Duration(f.rng.IntN(30_000))*time.Microsecond
		go func() {
			time.Sleep(after)
			if !fails {
				r.Acked(i, 1)
				return
			}
			f.mu.Lock()
			k.failed[n] = time.Now()
			f.failures++
			f.mu.Unlock()
			r.Failed(i, errDraining)
		}()
	}
	return nil
}
func (f *fickle) Assign(context.Context, producer.Membership, []producer.Assignment) error {
	return nil
}
func (f *fickle) Release(context.Context, []uint64) error { return nil }
func (f *fickle) Flush(context.Context) error             { return nil }
func (f *fickle) Check(context.Context) error             { return nil }
func (f *fickle) Close() error                            { return nil }

// A key moves only while its lane has nothing of it in hand: no handler, no outputs under way, none
// that failed (S7).
func TestKeysMoveInOrder(t *testing.T) {
	for _, seed := range []uint64{1, 2, 3, rand.Uint64(), rand.Uint64()} {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const keys, each = 24, 40
				f := &fickle{rng: rand.New(rand.NewPCG(seed, 4)), keys: map[string]*fickleKey{}}
				var mu sync.Mutex
				rng := rand.New(rand.NewPCG(seed, 5))
				handled := map[string]int{}
				cfg := quiet(pipeline.Config{Concurrency: 2 + rng.IntN(8), Producer: f, Backoff: pipeline.Backoff{Initial: 20 * time.Millisecond}})
				cfg.Handler = pipeline.HandlerFunc(func(_ context.Context, in *consumer.Message) ([]producer.Record, error) {
					mu.Lock()
					n := handled[string(in.Key)]
					handled[string(in.Key)]++
					pause := time.Duration(rng.IntN(12_000)) * time.Microsecond
					mu.Unlock()
					if got := string(in.Value); got != strconv.Itoa(n) {
						t.Errorf("handler of %s got %s before %d", in.Key, got, n)
					}
					time.Sleep(pause)
					return []producer.Record{{Topic: "out", Key: in.Key, Value: in.Value}}, nil
				})
				h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 3), pipelinetest.Timeout(10*time.Minute))
				feedKeys(h, keys, each)
				h.WaitDone(keys * each)
				f.mu.Lock()
				defer f.mu.Unlock()
				for _, w := range f.wrong {
					t.Error(w)
				}
				if f.failures == 0 {
					t.Error("nothing failed")
				}
			})
		})
	}
}
