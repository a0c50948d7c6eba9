package pipeline_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/producer"
)

type order struct {
	ID    string `json:"id"`
	Cents int    `json:"cents"`
}

func message(key, value []byte) *consumer.Message {
	return &consumer.Message{Record: &kgo.Record{Topic: "in", Partition: 3, Offset: 42, Key: key, Value: value}}
}

func TestTransform(t *testing.T) {
	h := pipeline.Transform(pipeline.JSON[order](), pipeline.String(), "out", func(_ context.Context, in pipeline.Msg[order]) ([]pipeline.Out[string], error) {
		switch in.Value.ID {
		case "filtered":
			return nil, nil
		case "broken":
			return nil, errBroken
		}
		return []pipeline.Out[string]{
			{Value: in.Value.ID},
			{Value: string(in.Record.Value), Key: []byte("own"), Topic: "other", Headers: []producer.Header{{Key: "h"}}, Partition: new(int32(7))},
		}, nil
	})
	outs, err := h.Handle(t.Context(), message([]byte("k"), []byte(`{"id":"x","cents":5}`)))
	if err != nil || len(outs) != 2 {
		t.Fatalf("%v %v", outs, err)
	}
	if o := outs[0]; o.Topic != "out" || string(o.Key) != "k" || string(o.Value) != "x" || o.Partition != nil {
		t.Errorf("first output %+v", o)
	}
	if o := outs[1]; o.Topic != "other" || string(o.Key) != "own" || string(o.Value) != `{"id":"x","cents":5}` || *o.Partition != 7 || len(o.Headers) != 1 {
		t.Errorf("second output %+v", o)
	}
	if outs, err := h.Handle(t.Context(), message(nil, []byte(`{"id":"filtered"}`))); err != nil || len(outs) != 0 {
		t.Errorf("filtered: %v %v", outs, err)
	}
	if _, err := h.Handle(t.Context(), message(nil, []byte(`{"id":"broken"}`))); !errors.Is(err, errBroken) {
		t.Errorf("the function's error: %v", err)
	}
}

func TestTransformRejectsWhatDoesNotDecodeOrEncode(t *testing.T) {
	for name, test := range map[string]struct {
		handler pipeline.Handler
		value   []byte
		says    string
	}{
		"no JSON":             {same(pipeline.JSON[order]()), []byte("{"), "in partition 3 offset 42 is no pipeline_test.order"},
		"more than a value":   {same(pipeline.JSON[order]()), []byte("{} {}"), "after top-level value"},
		"tombstone":           {same(pipeline.JSON[order]()), nil, "tombstone"},
		"tombstone to string": {same(pipeline.String()), nil, "tombstone"},
		"no protobuf":         {same(pipeline.Protobuf[wrapperspb.Int64Value]()), []byte{0xff}, "wrapperspb.Int64Value"},
		"does not encode": {pipeline.Transform(pipeline.Bytes(), pipeline.JSON[chan int](), "out",
			func(context.Context, pipeline.Msg[[]byte]) ([]pipeline.Out[chan int], error) {
				return make([]pipeline.Out[chan int], 1), nil
			}), nil, "cannot be encoded"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := test.handler.Handle(t.Context(), message(nil, test.value))
			if _, ok := errors.AsType[*pipeline.CodecError](err); !ok || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, want %q in it", err, test.says)
			}
		})
	}
}

func same[T any](c pipeline.Codec[T]) pipeline.Handler {
	return pipeline.Transform(c, c, "out", func(_ context.Context, in pipeline.Msg[T]) ([]pipeline.Out[T], error) {
		return []pipeline.Out[T]{{Value: in.Value}}, nil
	})
}

func TestCodecsRoundTrip(t *testing.T) {
	empty := []byte{}
	for name, test := range map[string]struct {
		handler pipeline.Handler
		value   []byte
	}{
		"json":               {same(pipeline.JSON[order]()), []byte(`{"id":"x","cents":5}`)},
		"string":             {same(pipeline.String()), []byte("x")},
		"bytes":              {same(pipeline.Bytes()), []byte{0, 255}},
		"bytes nil":          {same(pipeline.Bytes()), nil},
		"protobuf":           {same(pipeline.Protobuf[wrapperspb.Int64Value]()), []byte{8, 5}},
		"protobuf empty":     {same(pipeline.Protobuf[wrapperspb.Int64Value]()), empty},
		"nullable":           {same(pipeline.Nullable(pipeline.JSON[order]())), []byte(`{"id":"x","cents":5}`)},
		"nullable tombstone": {same(pipeline.Nullable(pipeline.JSON[order]())), nil},
	} {
		t.Run(name, func(t *testing.T) {
			outs, err := test.handler.Handle(t.Context(), message(nil, test.value))
			if err != nil {
				t.Fatal(err)
			}
			if got := outs[0].Value; string(got) != string(test.value) || (got == nil) != (test.value == nil) {
				t.Errorf("%q became %q", test.value, got)
			}
		})
	}
}
