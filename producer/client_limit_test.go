package producer_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ackmark/ackmark/producer"
)

// A unit of nearly the largest message that the sidecar takes is delivered or refused, and those
// behind it are delivered: what travels beside it, topic names, must not make the message too
// large, because the stream would break at the same unit for ever.
func TestClientUnitsAtTheMessageLimit(t *testing.T) {
	b := newBroker(t, "t")
	socket := filepath.Join(t.TempDir(), "s", "sidecar.sock")
	startSidecar(t, b, socket)
	p := producer.Dial("unix://" + socket)
	defer p.Close()
	const limit = 4 << 20 // the sidecar's default
	const envelope = 64   // of one unit with five outputs to this topic
	topic := strings.Repeat("n", 249)
	for _, below := range []int{64, 128, 256, 512} {
		outputs := make([]producer.Record, 5) // each is small enough for Kafka
		rest := limit - below - 5*(len(outputs)+7) - envelope
		for i := range outputs {
			outputs[i] = producer.Record{Topic: topic, Value: make([]byte, rest/5)}
		}
		r := deliver(t, p, producer.Unit{Outputs: outputs}, producer.Unit{Outputs: []producer.Record{record1("k", "v")}})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		err := r.Wait(ctx)
		cancel()
		if err != nil {
			t.Fatalf("%d bytes below: %v", below, err)
		}
		if err := r.Fates()[1].Err; err != nil {
			t.Errorf("%d bytes below: the unit behind: %v", below, err)
		}
	}
}

func TestClientRefusesNamesThatNoTopicHas(t *testing.T) {
	b := newBroker(t, "t")
	socket := filepath.Join(t.TempDir(), "s", "sidecar.sock")
	startSidecar(t, b, socket)
	p := producer.Dial("unix://" + socket)
	defer p.Close()
	r := deliver(t, p, producer.Unit{Outputs: []producer.Record{{Topic: strings.Repeat("n", 5<<20)}}}, numbered(1)[0])
	wait(t, r)
	if pe, ok := errors.AsType[*producer.Error](error(r.Fates()[0].Err)); !ok || pe.Code != "INVALID_TOPIC_EXCEPTION" || len(pe.Error()) > 500 {
		t.Errorf("%v", r.Fates()[0].Err)
	}
	if err := r.Fates()[1].Err; err != nil {
		t.Errorf("the unit behind: %v", err)
	}
}
