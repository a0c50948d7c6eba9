package pipeline_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/pipeline/pipelinetest"
	"github.com/ackmark/ackmark/producer"
)

// randomHandler sleeps, fails, panics, filters and fans out as its seed says.
func randomHandler(seed uint64, out string) handle {
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(seed, 1))
	draw := func() (int, time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		return rng.IntN(100), time.Duration(rng.IntN(5000)) * time.Microsecond
	}
	return func(_ context.Context, in *consumer.Message) ([]producer.Record, error) {
		dice, pause := draw()
		switch {
		case dice < 5:
			return nil, errBroken
		case dice < 7:
			panic("dice")
		case dice < 50:
			time.Sleep(pause)
		}
		return []producer.Record{{Topic: out, Key: in.Key, Value: in.Value}}, nil
	}
}

// TestOrderPerKey checks S7 under concurrency, retries and random rebalances. A failing seed is
// printed; set it in seeds to replay.
func TestOrderPerKey(t *testing.T) {
	seeds := []uint64{1, 2, rand.Uint64(), rand.Uint64()}
	for _, seed := range seeds {
		for _, order := range []pipeline.Order{pipeline.PerKey, pipeline.PerPartition} {
			t.Run(fmt.Sprintf("%s/%d", order, seed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { orderPerKey(t, order, seed) })
			})
		}
	}
}

func orderPerKey(t *testing.T, order pipeline.Order, seed uint64) {
	const keys, each = 20, 60
	rng := rand.New(rand.NewPCG(seed, 2))
	cfg := quiet(pipeline.Config{Order: order, Concurrency: 1 + rng.IntN(9), MaxAttempts: 1000, Backoff: pipeline.Backoff{Initial: time.Millisecond, Max: 3 * time.Millisecond}})
	if rng.IntN(2) == 0 {
		cfg.Handler = pipeline.HandlerFunc(randomHandler(seed, "out"))
	} else {
		cfg.MaxBatch = 1 + rng.IntN(20)
		cfg.BatchHandler = randomBatches(randomHandler(seed, "out"))
	}
	h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 4), pipelinetest.Topic("out", 4), pipelinetest.Timeout(10*time.Minute))
	feeding := make(chan struct{})
	go func() {
		defer close(feeding)
		for i := range each {
			var in []*kgo.Record
			for k := range keys {
				in = append(in, pipelinetest.Record("key"+strconv.Itoa(k), strconv.Itoa(i)))
			}
			h.Feed(in...)
			time.Sleep(time.Duration(i%3) * 5 * time.Millisecond)
		}
	}()
	for range rng.IntN(3) {
		h.Join()()
	}
	<-feeding
	h.WaitIdle()
	if err := inOrder(h.Outputs("out"), keys, each); err != nil {
		t.Errorf("seed %d: %v", seed, err)
	}
}

// randomBatches makes a batch handler of a handler. A panic of one takes the batch along.
func randomBatches(one handle) pipeline.BatchHandlerFunc {
	return func(ctx context.Context, in []*consumer.Message) []pipeline.Result {
		results := make([]pipeline.Result, len(in))
		for i, m := range in {
			outputs, err := one(ctx, m)
			results[i] = pipeline.Result{Outputs: outputs, Err: err}
		}
		return results
	}
}

// TestUnorderedKeepsEveryLaneBusy: with blocking handlers Concurrency of them run at once, although
// all inputs are of one key and partition.
func TestUnorderedKeepsEveryLaneBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const lanes, n = 16, 200
		var running, most atomic.Int32
		cfg := quiet(pipeline.Config{Order: pipeline.Unordered, Concurrency: lanes})
		cfg.Handler = pipeline.HandlerFunc(func(context.Context, *consumer.Message) ([]producer.Record, error) {
			now := running.Add(1)
			for old := most.Load(); now > old && !most.CompareAndSwap(old, now); old = most.Load() {
			}
			time.Sleep(time.Second)
			running.Add(-1)
			return nil, nil
		})
		h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1), pipelinetest.Manual(), pipelinetest.Timeout(10*time.Minute))
		var in []*kgo.Record
		for range n {
			in = append(in, pipelinetest.Record("k", "v"))
		}
		h.Feed(in...)
		begun := time.Now()
		h.Start()
		h.WaitDone(n)
		if took, ideal := time.Since(begun), n*time.Second/lanes; took > ideal+5*time.Second {
			t.Errorf("took %s, ideally %s", took, ideal)
		}
		if most.Load() != lanes {
			t.Errorf("at most %d handlers ran at once, want %d", most.Load(), lanes)
		}
	})
}

// TestInputsWithoutKeySpread: nothing orders them, so they use every lane.
func TestInputsWithoutKeySpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := quiet(pipeline.Config{Concurrency: 8})
		cfg.Handler = pipeline.HandlerFunc(func(context.Context, *consumer.Message) ([]producer.Record, error) {
			time.Sleep(time.Second)
			return nil, nil
		})
		h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1), pipelinetest.Manual())
		h.Feed(strings2records(strings.Fields("a b c d e f g h i j k l m n o p"))...)
		begun := time.Now()
		h.Start()
		h.WaitDone(16)
		if took := time.Since(begun); took > 4*time.Second {
			t.Errorf("16 handlers of 1s in 8 lanes took %s", took)
		}
	})
}

func strings2records(values []string) []*kgo.Record {
	var in []*kgo.Record
	for _, v := range values {
		in = append(in, pipelinetest.Record("", v))
	}
	return in
}

// TestFinishedUnitsDoNotWaitForASlowHandler: 10 fast inputs and a slow one in the same lane: the
// fast ones are delivered while the slow one runs.
func TestFinishedUnitsDoNotWaitForASlowHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		cfg := quiet(pipeline.Config{Concurrency: 1})
		cfg.Handler = pipeline.HandlerFunc(func(ctx context.Context, in *consumer.Message) ([]producer.Record, error) {
			if string(in.Value) == "slow" {
				<-release
			}
			return upper(ctx, in)
		})
		h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1), pipelinetest.Topic("out", 1), pipelinetest.Manual())
		h.Feed(strings2records(strings.Fields("a b c d e f g h i j slow k"))...)
		h.Start()
		h.WaitCommitted("in", 0, 10)
		if got := len(h.Outputs("out")); got != 10 {
			t.Errorf("%d outputs", got)
		}
		close(release)
		h.WaitCommitted("in", 0, 12)
	})
}
