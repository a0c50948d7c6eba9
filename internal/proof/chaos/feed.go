package chaos

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/proof/verify"
)

// feed produces numbered inputs at a steady rate.
type feed struct {
	made atomic.Uint64
	stop context.CancelFunc
	done sync.WaitGroup
	err  error // after done
}

// feedStep is how often the feed produces: often enough to look like a stream.
const feedStep = 10 * time.Millisecond

func newFeed(client *kgo.Client, topic string, seed uint64, perSecond int) *feed {
	ctx, cancel := context.WithCancel(context.Background())
	f := &feed{stop: cancel}
	f.done.Go(func() { f.err = f.run(ctx, client, topic, seed, perSecond) })
	return f
}

func (f *feed) run(ctx context.Context, client *kgo.Client, topic string, seed uint64, perSecond int) error {
	gen := verify.NewGenerator(verify.GeneratorConfig{Seed: seed, Keys: 200})
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

// finish stops feeding and returns how many inputs there are, all of them acknowledged.
func (f *feed) finish() (uint64, error) {
	f.stop()
	f.done.Wait()
	return f.made.Load(), f.err
}
