package pipeline

import (
	"log/slog"
	"runtime"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/consumer"
)

// While its sidecar is away each input of a lane may wait in a flight of its own, as many as the
// consumer's MaxRecords: one must not take what 256 of them do.
func TestAFlightOfOneInputIsSmall(t *testing.T) {
	const n, most = 2000, 2 << 10
	p := new(Pipeline)
	p.sentinels.begin(slog.New(slog.DiscardHandler), PerKey)
	a := &consumer.Assignment{Topic: "in", Epoch: 1}
	m := consumer.NewMessage(&kgo.Record{Topic: "in"}, nil)
	waiting := make([]*flight, n)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := range waiting {
		waiting[i] = newFlight(p, nil, a)
		waiting[i].add(m, nil)
	}
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(waiting)
	if each := (after.TotalAlloc - before.TotalAlloc) / n; each > most {
		t.Errorf("a flight of one input takes %d bytes, want %d at most", each, most)
	}
}
