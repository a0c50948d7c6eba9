// Package feed produces numbered inputs to brokers at a steady rate, for chaos and e2e.
package feed

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/proof/verify"
)

// Feed feeds until it is told to finish.
type Feed struct {
	made atomic.Uint64
	stop context.CancelFunc
	done sync.WaitGroup
	err  error // after done
}

// step is how often the feed produces: often enough to look like a stream.
const step = 10 * time.Millisecond

// keys is how many the inputs have.
const keys = 200

// Start starts to feed a topic.
func Start(client *kgo.Client, topic string, seed uint64, perSecond int) *Feed {
	ctx, cancel := context.WithCancel(context.Background())
	f := &Feed{stop: cancel}
	f.done.Go(func() { f.err = f.run(ctx, client, topic, seed, perSecond) })
	return f
}

func (f *Feed) run(ctx context.Context, client *kgo.Client, topic string, seed uint64, perSecond int) error {
	gen := verify.NewGenerator(verify.GeneratorConfig{Seed: seed, Keys: keys})
	failed := make(chan error, 1)
	promise := func(_ *kgo.Record, err error) {
		if err != nil {
			select {
			case failed <- err:
			default:
			}
		}
	}
	tick := time.NewTicker(step)
	defer tick.Stop()
	for start := time.Now(); ctx.Err() == nil; <-tick.C {
		due := uint64(float64(perSecond) * time.Since(start).Seconds())
		for f.made.Load() < due && ctx.Err() == nil {
			in := gen.Next()
			client.Produce(context.Background(), &kgo.Record{Topic: topic, Key: in.Key, Value: in.Value}, promise)
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

// Made is how many inputs were made so far.
func (f *Feed) Made() uint64 { return f.made.Load() }

// Finish stops feeding and returns how many inputs there are, all of them acknowledged. It may be
// called twice.
func (f *Feed) Finish() (uint64, error) {
	f.stop()
	f.done.Wait()
	return f.made.Load(), f.err
}
