package pipeline

import (
	"context"
	"reflect"
	"time"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/producer"
)

// Msg is an input with its value decoded. Topic, Partition, Offset, Key, Headers and Timestamp are
// those of the record; its raw value is m.Record.Value.
type Msg[T any] struct {
	*consumer.Message
	Value T
}

// Out is an output of a typed handler.
type Out[T any] struct {
	Value T
	// Key, if nil, is the input's key: the output stays in the input's order.
	Key []byte
	// Topic, if empty, is the transform's topic.
	Topic   string
	Headers []producer.Header
	// Timestamp, if zero, is the time of delivery.
	Timestamp time.Time
	// Partition, if not nil, is written to whatever the key is.
	Partition *int32
}

// Transform makes a Handler of a typed function: it decodes the input's value, calls fn and encodes
// what fn returns, for the topic. A value that does not decode or encode rejects the input with a
// [CodecError]. Errors of fn are those of a Handler.
//
//	pipeline.Transform(pipeline.JSON[Order](), pipeline.JSON[Total](), "totals",
//		func(ctx context.Context, in pipeline.Msg[Order]) ([]pipeline.Out[Total], error) {
//			return []pipeline.Out[Total]{{Value: Total{ID: in.Value.ID, Cents: in.Value.Sum()}}}, nil
//		})
func Transform[I, O any](in Codec[I], out Codec[O], topic string, fn func(ctx context.Context, in Msg[I]) ([]Out[O], error)) Handler {
	return HandlerFunc(func(ctx context.Context, m *consumer.Message) ([]producer.Record, error) {
		value, err := in.Decode(m.Value)
		if err != nil {
			return nil, Reject(&CodecError{Input: inputOf(m), Decoding: true, Type: typeName[I](), Err: err})
		}
		outs, err := fn(ctx, Msg[I]{m, value})
		if err != nil || len(outs) == 0 {
			return nil, err
		}
		records := make([]producer.Record, len(outs))
		for i := range outs {
			if records[i], err = outs[i].record(m, out, topic); err != nil {
				return nil, err
			}
		}
		return records, nil
	})
}

func (o *Out[T]) record(m *consumer.Message, c Codec[T], topic string) (producer.Record, error) {
	value, err := c.Encode(o.Value)
	if err != nil {
		return producer.Record{}, Reject(&CodecError{Input: inputOf(m), Type: typeName[T](), Err: err})
	}
	r := producer.Record{Topic: topic, Key: o.Key, Value: value, Headers: o.Headers, Timestamp: o.Timestamp, Partition: o.Partition}
	if o.Topic != "" {
		r.Topic = o.Topic
	}
	if o.Key == nil {
		r.Key = m.Key
	}
	return r, nil
}

func typeName[T any]() string {
	return reflect.TypeFor[T]().String()
}
