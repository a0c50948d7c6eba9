package pipeline

import (
	"log/slog"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/proof/measured"
	"github.com/ackmark/ackmark/internal/telemetry"
	"github.com/ackmark/ackmark/producer"
)

// A key whose delivery goes back is told, and nothing else is.
func TestOrderSentinelIsTold(t *testing.T) {
	meter := measured.New()
	p := &Pipeline{metrics: newMetrics(&Config{MeterProvider: meter}, "g")}
	p.sentinels.begin(slog.New(slog.DiscardHandler), PerKey)
	defer p.metrics.begin(p)()
	of, a := telemetry.Group.String("g"), &consumer.Assignment{Topic: "in", Epoch: 1}
	delivers := func(key string, index uint64) {
		f := &flight{assignment: a, units: []producer.Unit{{}}}
		f.msgs = []*consumer.Message{consumer.NewMessage(&kgo.Record{Topic: "in", Key: []byte(key)}, nil)}
		f.units[0].Source.Index = index
		p.sentinels.delivers(f)
	}
	delivers("a", 1)
	delivers("b", 0) // another key
	delivers("a", 2)
	meter.Collect(t).Want(t, 0, telemetry.OrderBroken, of)
	delivers("a", 1)
	v := meter.Collect(t)
	v.Want(t, 1, telemetry.OrderBroken, of)
	v.Want(t, 0, telemetry.CommitBeyond, of)
}
