package e2e

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/proof/verify"
)

// feed produces numbered inputs at a steady rate in the background.
type feed struct {
	s    *scenario
	made atomic.Uint64
	stop context.CancelFunc
	done sync.WaitGroup
	err  error // after done
}

// feedStep is how often the feed produces: often enough to look like a stream.
const feedStep = 10 * time.Millisecond

// feed starts feeding so many inputs per second.
func (s *scenario) feed(perSecond int) *feed {
	s.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	f := &feed{s: s, stop: cancel}
	client := s.plain(kgo.DefaultProduceTopic(s.input), kgo.ProducerLinger(0))
	s.Cleanup(func() { f.stop(); f.done.Wait() })
	f.done.Go(func() { f.err = f.run(ctx, client, perSecond) })
	return f
}

func (f *feed) run(ctx context.Context, client *kgo.Client, perSecond int) error {
	gen := verify.NewGenerator(verify.GeneratorConfig{Seed: 1, Keys: 200})
	failed := make(chan error, 1)
	promise := func(_ *kgo.Record, err error) {
		if err != nil {
			select {
			case failed <- err:
			default:
			}
		}
	}
	tick := time.NewTicker(feedStep)
	defer tick.Stop()
	for start := time.Now(); ctx.Err() == nil; <-tick.C {
		due := uint64(float64(perSecond) * time.Since(start).Seconds())
		for f.made.Load() < due {
			in := gen.Next()
			client.Produce(context.Background(), &kgo.Record{Key: in.Key, Value: in.Value}, promise)
			f.made.Add(1)
		}
	}
	flush, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := client.Flush(flush); err != nil {
		return err
	}
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// more waits until n more inputs were fed, so that what comes next happens under load.
func (f *feed) more(n uint64) {
	f.s.Helper()
	want := f.made.Load() + n
	f.s.await(fmt.Sprintf("%d more inputs", n), func() error {
		if got := f.made.Load(); got < want {
			return fmt.Errorf("%d to go", want-got)
		}
		return nil
	})
}

// finish stops feeding and returns how many inputs there are, all of them acknowledged.
func (f *feed) finish() uint64 {
	f.s.Helper()
	f.stop()
	f.done.Wait()
	if f.err != nil {
		f.s.Fatalf("the test's own producer failed: %v", f.err)
	}
	return f.made.Load()
}
