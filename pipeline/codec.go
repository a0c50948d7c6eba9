package pipeline

import (
	"encoding/json"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"
)

// Codec turns values into bytes and back. Values are a record's value as Kafka has it; nil is a
// tombstone. An error of Decode says that the bytes are wrong: its input is rejected, no retry
// cures it. Codecs are used from many lanes at once.
type Codec[T any] interface {
	Encode(v T) ([]byte, error)
	Decode(b []byte) (T, error)
}

// ErrTombstone is the error of a codec that has no value for a nil record value. Wrap it with
// [Nullable] to handle tombstones.
var ErrTombstone = errors.New("the value is null (a tombstone): use pipeline.Nullable(codec) to handle those")

// JSON is the codec of encoding/json. Data after the value is an error.
func JSON[T any]() Codec[T] { return jsonCodec[T]{} }

type jsonCodec[T any] struct{}

func (jsonCodec[T]) Encode(v T) ([]byte, error) { return json.Marshal(v) }

func (jsonCodec[T]) Decode(b []byte) (v T, err error) {
	if b == nil {
		return v, ErrTombstone
	}
	return v, json.Unmarshal(b, &v)
}

// Protobuf is the binary protobuf codec of a generated message: Protobuf[orderpb.Order]() is a
// Codec[*orderpb.Order].
func Protobuf[T any, P interface {
	*T
	proto.Message
}]() Codec[P] {
	return protoCodec[T, P]{}
}

type protoCodec[T any, P interface {
	*T
	proto.Message
}] struct{}

func (protoCodec[T, P]) Encode(v P) ([]byte, error) {
	b, err := proto.Marshal(v)
	if b == nil {
		b = []byte{} // an empty message is not a tombstone
	}
	return b, err
}

func (protoCodec[T, P]) Decode(b []byte) (P, error) {
	if b == nil {
		return nil, ErrTombstone
	}
	v := P(new(T))
	if err := proto.Unmarshal(b, v); err != nil {
		return nil, err
	}
	return v, nil
}

// Bytes passes values through; nil stays nil.
func Bytes() Codec[[]byte] { return bytesCodec{} }

type bytesCodec struct{}

func (bytesCodec) Encode(v []byte) ([]byte, error) { return v, nil }
func (bytesCodec) Decode(b []byte) ([]byte, error) { return b, nil }

// String is Bytes for strings. A tombstone is an error, since an empty string is not one.
func String() Codec[string] { return stringCodec{} }

type stringCodec struct{}

func (stringCodec) Encode(v string) ([]byte, error) { return []byte(v), nil }

func (stringCodec) Decode(b []byte) (string, error) {
	if b == nil {
		return "", ErrTombstone
	}
	return string(b), nil
}

// Nullable adds tombstones to a codec: nil is a nil pointer, in both directions.
func Nullable[T any](c Codec[T]) Codec[*T] { return nullableCodec[T]{c} }

type nullableCodec[T any] struct{ inner Codec[T] }

func (c nullableCodec[T]) Encode(v *T) ([]byte, error) {
	if v == nil {
		return nil, nil
	}
	return c.inner.Encode(*v)
}

func (c nullableCodec[T]) Decode(b []byte) (*T, error) {
	if b == nil {
		return nil, nil
	}
	v, err := c.inner.Decode(b)
	if err != nil {
		return nil, err
	}
	return &v, nil
}

// CodecError is why a typed handler rejected its input: the bytes do not decode, or a value that
// the function returned does not encode.
type CodecError struct {
	Input Input
	// Decoding tells the input's value from an output's.
	Decoding bool
	// Type is the Go type.
	Type string
	Err  error
}

func (e *CodecError) Error() string {
	if e.Decoding {
		return fmt.Sprintf("pipeline: the value of %s is no %s: %v", e.Input, e.Type, e.Err)
	}
	return fmt.Sprintf("pipeline: an output of %s, a %s, cannot be encoded: %v", e.Input, e.Type, e.Err)
}

func (e *CodecError) Unwrap() error { return e.Err }
