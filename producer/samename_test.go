package producer_test

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/producer/producertest"
)

// Two pipelines of a process may name their producers alike, as "this process among those of the
// pod" suggests: neither loses its session, or hears the other's reports.
func TestTwoProducersOfOneName(t *testing.T) {
	b := newBroker(t)
	socket := filepath.Join(t.TempDir(), "s", "sidecar.sock")
	startSidecar(t, b, socket)
	ctx, cancel := context.WithTimeout(t.Context(), producertest.Patience)
	defer cancel()
	const rounds, each = 20, 10
	var list []*producertest.Recorder
	var both [2]producer.Producer
	for i := range both {
		p := producer.DialConfig{Target: "unix://" + socket, App: "test", SessionID: "pod-1", Logger: slog.New(slog.DiscardHandler)}.New()
		defer p.Close()
		p.(producer.Fencer).OnFenced(func(e *producer.Error) { t.Errorf("producer %d: %v", i, e) })
		for err := p.Check(ctx); err != nil; err = p.Check(ctx) { // the second one is told to choose another name
			if ctx.Err() != nil {
				t.Fatal(err)
			}
		}
		both[i] = p
	}
	for n := range rounds {
		for i, p := range both {
			units := make([]producer.Unit, each)
			for k := range units {
				units[k].Outputs = []producer.Record{{Topic: producertest.TopicA, Key: fmt.Append(nil, i), Value: fmt.Append(nil, n*each+k)}}
			}
			r := producertest.NewRecorder(each)
			if err := p.Deliver(ctx, units, r); err != nil {
				t.Fatal(err)
			}
			if err := r.Wait(ctx); err != nil {
				t.Fatalf("producer %d, round %d: %v", i, n, err)
			}
			list = append(list, r)
		}
	}
	for _, r := range list {
		for _, f := range r.Fates() {
			if f.Err != nil {
				t.Fatal(f.Err)
			}
		}
	}
	next := map[string]int{}
	for _, r := range b.Records(t, producertest.TopicA) {
		key := string(r.Key)
		if want := fmt.Sprint(next[key]); string(r.Value) != want {
			t.Fatalf("producer %s: %s, want %s", key, r.Value, want)
		}
		next[key]++
	}
	if next["0"] != rounds*each || next["1"] != rounds*each {
		t.Errorf("%v in Kafka, want %d of each", next, rounds*each)
	}
}
