package producer_test

import (
	"errors"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/producer/producertest"
)

// failing are units that fail, each for another reason, and one that does not.
func failing() []producer.Unit {
	of := func(r producer.Record) producer.Unit { return producer.Unit{Outputs: []producer.Record{r}} }
	return []producer.Unit{
		of(producer.Record{Topic: producertest.TopicA, Value: []byte("fine")}),
		of(producer.Record{Topic: badTopic, Value: []byte("v")}),
		of(producer.Record{Topic: producertest.TopicA, Partition: new(int32(99)), Value: []byte("v")}),
		of(producer.Record{Topic: producertest.TopicA, Headers: make([]producer.Header, producer.MaxUnitHeaders+1)}),
		of(producer.Record{Topic: producertest.TopicA, Timestamp: time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC)}),
		{Source: producer.Source{Epoch: 1}, Outputs: []producer.Record{{Topic: producertest.TopicA}}}, // released
		{},
		of(producer.Record{Topic: strings.Repeat("x", 250)}),
	}
}

// Whatever becomes of a unit, it gives back what it took: a producer with room for one call takes the
// next one when the one before is reported.
func TestEveryUnitGivesItsRoomBack(t *testing.T) {
	b := newBroker(t)
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	p := producer.Direct(producer.DirectConfig{Brokers: b.ListenAddrs(), Options: quick, OnFull: producer.Refuse,
		MaxBufferedRecords: 2, MaxBufferedBytes: 64, Logger: slog.New(slog.DiscardHandler)})
	defer p.Close()
	if err := p.Assign(t.Context(), producer.Membership{}, []producer.Assignment{{Epoch: 1, Topic: "in"}}); err != nil {
		t.Fatal(err)
	}
	if err := p.Release(t.Context(), []uint64{1}); err != nil {
		t.Fatal(err)
	}
	list := failing()
	for round := range 60 {
		u := list[round%len(list)]
		if round >= len(list) {
			u = list[r.IntN(len(list))]
		}
		rec := deliver(t, p, u)
		if err := rec.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := p.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		// One that would not be taken if anything at all were held: two records beside none.
		two := producer.Unit{Outputs: []producer.Record{{Topic: producertest.TopicA}, {Topic: producertest.TopicA}}}
		rec = producertest.NewRecorder(1)
		if err := p.Deliver(t.Context(), []producer.Unit{two}, rec); errors.Is(err, producer.ErrFull) {
			t.Fatalf("seed %d, round %d: %v", seed, round, err)
		}
		if err := p.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
