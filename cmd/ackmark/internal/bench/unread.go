package bench

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/metric"
	sdk "go.opentelemetry.io/otel/sdk/metric"

	"github.com/ackmark/ackmark/producer"
)

// What the loop of metrics that nobody reads does: slices of calls, in turn without a provider and
// with one, so that whatever drifts falls on both. They last some tens of microseconds: most of
// them are not interrupted by other work, and those that are do not move a median.
const (
	unreadPairs   = 2048
	unreadRecords = 1024 // of a slice, but never fewer than unreadCalls calls
	unreadCalls   = 64
)

// unreadSizes are the records of a call.
var unreadSizes = []int{1, 16, 128}

// Unread is what calls of so many records cost more with a provider that nobody reads than without
// one, in nanoseconds a record.
type Unread struct {
	Records int       `json:"records"`
	More    []float64 `json:"more_ns"`
}

// unread measures the step by itself: the calls of a producer that is closed, which are refused
// behind the place where calls are counted. A difference of two whole runs cannot tell 5 ns.
func unread(ctx context.Context) (all []Unread, err error) {
	without, err := closedProducer(nil)
	if err != nil {
		return nil, err
	}
	with, err := closedProducer(sdk.NewMeterProvider())
	if err != nil {
		return nil, err
	}
	for _, n := range unreadSizes {
		units := make([]producer.Unit, n)
		for i := range units {
			units[i].Outputs = []producer.Record{{Topic: "out"}}
		}
		calls := max(unreadRecords/n, unreadCalls)
		slice := func(p producer.Producer) float64 {
			began := time.Now()
			for range calls {
				_ = p.Deliver(ctx, units, ignored{})
			}
			return float64(time.Since(began)) / float64(calls*n)
		}
		slice(without) // warm
		slice(with)
		one := Unread{Records: n}
		for pair := range unreadPairs {
			var plain, idle float64
			if pair%2 == 0 {
				plain, idle = slice(without), slice(with)
			} else {
				idle, plain = slice(with), slice(without)
			}
			one.More = append(one.More, idle-plain)
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		all = append(all, one)
	}
	return all, nil
}

func closedProducer(metrics metric.MeterProvider) (producer.Producer, error) {
	p := producer.Direct(producer.DirectConfig{Brokers: []string{"127.0.0.1:1"}, MeterProvider: metrics})
	if err := p.Close(); err != nil {
		return nil, fmt.Errorf("bench: a producer that was never used: %w", err)
	}
	return p, nil
}

// ignored are the fates: there are none.
type ignored struct{}

func (ignored) Acked(int, int)              {}
func (ignored) Failed(int, *producer.Error) {}
