package wire

import (
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// Codec is the "proto" codec for gRPC that passes [Raw] and [Message] through as bytes. Everything
// else goes to protobuf.
type Codec struct{}

var (
	_        encoding.CodecV2 = Codec{}
	fallback                  = encoding.GetCodecV2(proto.Name)
)

// Raw is a message that is encoded already, for SendMsg. SendMsg takes references of its own: the
// caller keeps its reference, and frees it whenever it likes. gRPC reads the buffers until it has
// freed its own, after SendMsg has returned.
type Raw struct {
	Buffers mem.BufferSlice
}

// Message is a received message as it came, for RecvMsg. The zero value is ready; after
// [Message.Free] it can be used again.
type Message struct {
	buf mem.Buffer
}

// Marshal implements [encoding.CodecV2].
func (Codec) Marshal(v any) (mem.BufferSlice, error) {
	if raw, ok := v.(*Raw); ok {
		raw.Buffers.Ref()
		return raw.Buffers, nil
	}
	return fallback.Marshal(v)
}

// Unmarshal implements [encoding.CodecV2].
func (Codec) Unmarshal(data mem.BufferSlice, v any) error {
	if m, ok := v.(*Message); ok {
		m.Free()
		m.buf = data.MaterializeToBuffer(received)
		return nil
	}
	return fallback.Unmarshal(data, v)
}

// Name implements [encoding.CodecV2].
func (Codec) Name() string { return proto.Name }

// Bytes returns the message. It is valid until [Message.Free].
func (m *Message) Bytes() []byte {
	if m.buf == nil {
		return nil
	}
	return m.buf.ReadOnlyData()
}

// Take moves the buffer out of the message, which is then empty. The caller frees it: after that
// nothing that was decoded from it may be read.
func (m *Message) Take() mem.Buffer {
	buf := m.buf
	m.buf = nil
	return buf
}

// Free gives the buffer back. Everything decoded from it is invalid from then on. A second Free
// does nothing.
func (m *Message) Free() {
	if m.buf != nil {
		m.buf.Free()
		m.buf = nil
	}
}
