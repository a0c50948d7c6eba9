package pipeline

import (
	"context"

	"github.com/ackmark/ackmark/producer"
)

// sink is the producer of a pipeline without outputs. No unit with one comes here: see
// outputTopics.
type sink struct{}

func (sink) Deliver(_ context.Context, units []producer.Unit, r producer.Reporter) error {
	r.Acked(0, len(units))
	return nil
}

func (sink) Emit(context.Context, producer.Record) (producer.Ack, error) {
	return producer.Ack{}, errNoProducer
}

func (sink) EmitAsync(_ producer.Record, fn func(producer.Ack, error)) {
	fn(producer.Ack{}, errNoProducer)
}

func (sink) Assign(context.Context, producer.Membership, []producer.Assignment) error { return nil }
func (sink) Release(context.Context, []uint64) error                                  { return nil }
func (sink) Flush(context.Context) error                                              { return nil }
func (sink) Check(context.Context) error                                              { return nil }
func (sink) Close() error                                                             { return nil }

var errNoProducer = &ConfigError{Config: configName, Field: "Producer", Remedy: "there is nothing to write with: set it"}
