package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/pipeline/pipelinetest"
	"github.com/ackmark/ackmark/producer"
)

// keyOf is a key in one assignment of its partition.
type keyOf struct {
	epoch uint64
	key   string
}

// judged is what a judge knows of a key: the highest place behind an input that came, and since
// when those that failed wait to come again.
type judged struct {
	last   uint64
	failed map[uint64]time.Time
}

// judge is a fickle producer that is slow at times, for inputs that come again.
type judge struct {
	fickle
	of map[keyOf]*judged
}

func (f *judge) Deliver(ctx context.Context, units []producer.Unit, r producer.Reporter) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	begun := time.Now() // what fails from now on cannot come before these
	if f.rng.IntN(40) == 0 {
		blocks := time.Duration(f.rng.IntN(20)) * time.Millisecond
		f.mu.Unlock()
		time.Sleep(blocks)
		f.mu.Lock()
	}
	for i, u := range units {
		at := keyOf{u.Source.Epoch, string(u.Outputs[0].Key)}
		n := u.Source.Index + 1
		k := f.of[at]
		if k == nil {
			k = &judged{failed: map[uint64]time.Time{}}
			f.of[at] = k
		}
		_, again := k.failed[n]
		delete(k.failed, n)
		for other, since := range k.failed {
			if other < n && since.Before(begun) {
				f.wrong = append(f.wrong, fmt.Sprintf("%v: %d came before %d, which had failed %v ago", at, n, other, time.Since(since)))
			}
		}
		if !again && n <= k.last {
			f.wrong = append(f.wrong, fmt.Sprintf("%v: %d came after %d", at, n, k.last))
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

// A key keeps its order in each assignment while partitions leave and come back, handlers retry and
// reject, and units fail.
func TestKeysMoveInOrderThroughRebalances(t *testing.T) {
	for _, seed := range []uint64{1, 2, 3, rand.Uint64(), rand.Uint64()} {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { moveThroughRebalances(t, seed) })
		})
	}
}

func moveThroughRebalances(t *testing.T, seed uint64) {
	f := &judge{fickle: fickle{rng: rand.New(rand.NewPCG(seed, 4))}, of: map[keyOf]*judged{}}
	rng := rand.New(rand.NewPCG(seed, 5))
	cfg := quiet(pipeline.Config{Concurrency: 2 + rng.IntN(8), Producer: f, MaxAttempts: 3, Backoff: pipeline.Backoff{Initial: 20 * time.Millisecond}})
	cfg.DeadLetter.Topic = "dead"
	var mu sync.Mutex
	handled, running := map[keyOf]uint64{}, map[string]int{}
	cfg.Handler = pipeline.HandlerFunc(func(_ context.Context, in *consumer.Message) ([]producer.Record, error) {
		at := keyOf{in.Assignment().Epoch, string(in.Key)}
		mu.Lock()
		if n := in.Index() + 1; n < handled[at] {
			t.Errorf("the handler of %v got %d after %d", at, n, handled[at])
		} else {
			handled[at] = n
		}
		if running[at.key]++; running[at.key] > 1 {
			t.Errorf("two handlers of %v", at)
		}
		takes := time.Duration(rng.IntN(12_000)) * time.Microsecond
		if rng.IntN(100) == 0 {
			takes *= 100
		}
		fails, rejects := rng.IntN(30) == 0, rng.IntN(100) == 0
		mu.Unlock()
		time.Sleep(takes)
		mu.Lock()
		running[at.key]--
		mu.Unlock()
		switch {
		case fails:
			return nil, errors.New("fails now and then")
		case rejects:
			return nil, pipeline.Reject(errors.New("rejected"))
		}
		return []producer.Record{{Topic: "out", Key: in.Key, Value: in.Value}}, nil
	})
	h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 3), pipelinetest.Topic("dead", 1), pipelinetest.Timeout(10*time.Minute))
	over := make(chan struct{})
	go func() {
		defer close(over)
		for i := range 6 {
			time.Sleep(time.Duration(i) * 30 * time.Millisecond)
			h.Rebalance()
		}
	}()
	feedKeys(h, 24, 60)
	<-over
	h.WaitIdle()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, w := range f.wrong {
		t.Error(w)
	}
	if f.failures == 0 {
		t.Error("nothing failed")
	}
}
