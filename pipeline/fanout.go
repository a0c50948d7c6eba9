package pipeline

import (
	"context"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/producer"
)

// Output is an output of a handler made by [FanOut]: a value with its codec and topic. Make it with
// a [Port].
type Output interface {
	encode(m *consumer.Message) (producer.Record, error)
}

// Port is where a handler's outputs of one type go: a codec and a topic. It is used from many lanes
// at once.
type Port[T any] struct {
	codec Codec[T]
	topic string
}

// To makes the port of a topic.
func To[T any](c Codec[T], topic string) Port[T] { return Port[T]{c, topic} }

// Value is an output with the input's key, for the port's topic.
func (p Port[T]) Value(v T) Output { return p.Out(Out[T]{Value: v}) }

// Out is an output with a key, headers, timestamp, partition or topic of its own.
func (p Port[T]) Out(o Out[T]) Output { return ported[T]{p, o} }

type ported[T any] struct {
	port Port[T]
	out  Out[T]
}

func (o ported[T]) encode(m *consumer.Message) (producer.Record, error) {
	return o.out.record(m, o.port.codec, o.port.topic)
}

// FanOut is [Transform] for outputs of several types:
//
//	totals, alerts := pipeline.To(pipeline.JSON[Total](), "totals"), pipeline.To(pipeline.Protobuf[alertpb.Alert](), "alerts")
//	handler := pipeline.FanOut(pipeline.JSON[Order](), func(ctx context.Context, in pipeline.Msg[Order]) ([]pipeline.Output, error) {
//		return []pipeline.Output{totals.Value(sum(in.Value)), alerts.Value(&alertpb.Alert{Id: in.Value.ID})}, nil
//	})
//
// A nil Output is no output. All outputs of an input are acknowledged before it is done, whichever
// topics they go to.
func FanOut[I any](in Codec[I], fn func(ctx context.Context, in Msg[I]) ([]Output, error)) Handler {
	return HandlerFunc(func(ctx context.Context, m *consumer.Message) ([]producer.Record, error) {
		value, err := in.Decode(m.Value)
		if err != nil {
			return nil, Reject(&CodecError{Input: inputOf(m), Decoding: true, Type: typeName[I](), Err: err})
		}
		outs, err := fn(ctx, Msg[I]{m, value})
		if err != nil || len(outs) == 0 {
			return nil, err
		}
		records := make([]producer.Record, 0, len(outs))
		for _, o := range outs {
			if o == nil {
				continue
			}
			r, err := o.encode(m)
			if err != nil {
				return nil, err
			}
			records = append(records, r)
		}
		return records, nil
	})
}
