package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// generator feeds the inputs at the planned pace and knows what it fed.
type generator struct {
	src    source
	ledger ledger
	fed    atomic.Int64 // acknowledged
	onFed  func(partition int32, now time.Time)
}

// run feeds everything and returns when it is acknowledged.
func (g *generator) run(ctx context.Context, p plan, c *cluster) error {
	cl, err := kgo.NewClient(append(c.opts, kgo.ClientID("demo-generator"), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))...)
	if err != nil {
		return err
	}
	defer cl.Close()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	begin, sent := time.Now(), 0
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		n := due(time.Since(begin), p.Rate)
		for ; sent < n; sent++ {
			key, value, err := g.src.next()
			if errors.Is(err, io.EOF) {
				return g.finish(ctx, cl, sent)
			}
			if err != nil {
				return err
			}
			g.ledger.add(checksum(transform(value)))
			id := kgo.RecordHeader{Key: idHeader, Value: strconv.AppendInt(nil, int64(sent), 10)}
			r := &kgo.Record{Topic: c.input, Key: key, Value: value, Headers: []kgo.RecordHeader{id}}
			// A record that was handed over is never cancelled: the ledger counts on it.
			cl.Produce(context.WithoutCancel(ctx), r, func(r *kgo.Record, err error) {
				if err != nil {
					fail(fmt.Errorf("feed input %s: %w", r.Headers[0].Value, err))
					return
				}
				g.fed.Add(1)
				g.onFed(r.Partition, time.Now())
			})
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

func (g *generator) finish(ctx context.Context, cl *kgo.Client, sent int) error {
	if err := cl.Flush(ctx); err != nil {
		return fmt.Errorf("feed the inputs: %w", context.Cause(ctx))
	}
	if fed := g.fed.Load(); fed != int64(sent) {
		return fmt.Errorf("feed the inputs: %d of %d were acknowledged: %w", fed, sent, context.Cause(ctx))
	}
	return nil
}
