package wire_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// encode builds the frame with the zero-copy encoder from the generated message.
func encode(msg *sidecarpb.Units) []byte {
	var units []byte
	for _, u := range msg.GetUnits() {
		start := len(units)
		s := u.GetSource()
		units = wire.OpenUnit(units, wire.Source{Epoch: s.GetEpoch(), Index: s.GetIndex(), Offset: s.GetOffset()})
		for _, o := range u.GetOutputs() {
			out := fromProto(o)
			units = wire.AppendOutput(units, &out)
		}
		units = wire.CloseUnit(units, start)
	}
	h := wire.UnitsHeader{FirstSequence: msg.GetFirstSequence(), ExpiresAtNs: msg.GetExpiresAtNs()}
	for _, t := range msg.GetTopics() {
		h.Topics = append(h.Topics, wire.TopicName{Index: t.GetIndex(), Name: t.GetName()})
	}
	return append(wire.AppendUnitsHeader(nil, &h, len(units)), units...)
}

func fromProto(o *sidecarpb.Output) wire.Output {
	out := wire.Output{Topic: o.GetTopic(), Partition: -1, Key: o.Key, Value: o.Value, TimestampMs: o.GetTimestampMs(), HasTimestamp: o.TimestampMs != nil}
	if o.Partition != nil {
		out.Partition = o.GetPartition()
	}
	for _, h := range o.GetHeaders() {
		out.Headers = append(out.Headers, kgo.RecordHeader{Key: h.GetKey(), Value: h.Value})
	}
	return out
}

// decode reads a Units body into the generated message, through the visitor.
func decode(body []byte) (*sidecarpb.Units, error) {
	msg := new(sidecarpb.Units)
	var us wire.Units
	err := us.Parse(body, func(index uint32, name string) error {
		msg.Topics = append(msg.Topics, &sidecarpb.TopicName{Index: index, Name: name})
		return nil
	})
	if err != nil {
		return nil, err
	}
	msg.FirstSequence, msg.ExpiresAtNs = us.FirstSequence, us.ExpiresAtNs
	var x wire.Unit
	for us.Next(&x) {
		u, err := decodeUnit(&x)
		if err != nil {
			return nil, err
		}
		msg.Units = append(msg.Units, u)
	}
	return msg, nil
}

func decodeUnit(x *wire.Unit) (*sidecarpb.Unit, error) {
	u := new(sidecarpb.Unit)
	var o wire.Output
	for {
		ok, err := x.Next(&o)
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		p := &sidecarpb.Output{Topic: o.Topic, Key: bytes.Clone(o.Key), Value: bytes.Clone(o.Value)}
		if o.HasTimestamp {
			p.TimestampMs = proto.Int64(o.TimestampMs)
		}
		if o.Partition != -1 {
			p.Partition = &o.Partition
			p.Partition = proto.Int32(o.Partition)
		}
		for _, h := range o.Headers {
			p.Headers = append(p.Headers, &sidecarpb.Header{Key: string([]byte(h.Key)), Value: bytes.Clone(h.Value)})
		}
		u.Outputs = append(u.Outputs, p)
	}
	if x.HasSource {
		u.Source = &sidecarpb.Source{Epoch: x.Source.Epoch, Index: x.Source.Index, Offset: x.Source.Offset}
	}
	return u, nil
}

func genBytes() *rapid.Generator[[]byte] {
	return rapid.OneOf(rapid.Just[[]byte](nil), rapid.Just([]byte{}), rapid.SliceOfN(rapid.Byte(), 0, 300))
}

func genOutput() *rapid.Generator[*sidecarpb.Output] {
	return rapid.Custom(func(t *rapid.T) *sidecarpb.Output {
		o := &sidecarpb.Output{Topic: rapid.Uint32Range(0, 70000).Draw(t, "topic"), Key: genBytes().Draw(t, "key"), Value: genBytes().Draw(t, "value"),
			TimestampMs: rapid.Ptr(rapid.OneOf(rapid.Int64Range(-1, 1), rapid.Int64()), true).Draw(t, "ts")}
		if rapid.Bool().Draw(t, "partitioned") {
			o.Partition = proto.Int32(rapid.Int32Range(0, 1<<31-1).Draw(t, "partition"))
		}
		for range rapid.IntRange(0, 3).Draw(t, "headers") {
			o.Headers = append(o.Headers, &sidecarpb.Header{Key: rapid.String().Draw(t, "hk"), Value: genBytes().Draw(t, "hv")})
		}
		return o
	})
}

func genUnits() *rapid.Generator[*sidecarpb.Units] {
	return rapid.Custom(func(t *rapid.T) *sidecarpb.Units {
		msg := &sidecarpb.Units{FirstSequence: rapid.Uint64().Draw(t, "first"), ExpiresAtNs: rapid.Uint64().Draw(t, "expires")}
		for i := range rapid.Uint32Range(0, 3).Draw(t, "topics") {
			msg.Topics = append(msg.Topics, &sidecarpb.TopicName{Index: i, Name: rapid.String().Draw(t, "name")})
		}
		for range rapid.IntRange(0, 5).Draw(t, "units") {
			u := &sidecarpb.Unit{Outputs: rapid.SliceOfN(genOutput(), 0, 3).Draw(t, "outputs")}
			if rapid.Bool().Draw(t, "sourced") {
				u.Source = &sidecarpb.Source{Epoch: rapid.Uint64Min(1).Draw(t, "epoch"), Index: rapid.Uint64().Draw(t, "index"), Offset: rapid.Int64().Draw(t, "offset")}
			}
			msg.Units = append(msg.Units, u)
		}
		return msg
	})
}

func marshalRequest(t interface{ Fatal(...any) }, u *sidecarpb.Units) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(&sidecarpb.DeliveryStreamRequest{Kind: &sidecarpb.DeliveryStreamRequest_Units{Units: u}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func receive(t interface{ Fatal(...any) }, b []byte) *wire.Message {
	m := new(wire.Message)
	if err := (wire.Codec{}).Unmarshal(mem.BufferSlice{mem.SliceBuffer(b)}, m); err != nil {
		t.Fatal(err)
	}
	return m
}

// What the encoder writes is byte for byte what the generated code writes.
func TestUnitsEncodeAsProtobuf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		msg := genUnits().Draw(t, "units")
		if got, want := encode(msg), marshalRequest(t, msg); !bytes.Equal(got, want) {
			t.Fatalf("encoder wrote %x, protobuf writes %x", got, want)
		}
	})
}

// What the generated code writes is read back as it was.
func TestUnitsDecodeFromProtobuf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		msg := genUnits().Draw(t, "units")
		body, hot, err := receive(t, marshalRequest(t, msg)).Request(new(sidecarpb.DeliveryStreamRequest))
		if err != nil || !hot {
			t.Fatalf("hot %v, err %v", hot, err)
		}
		got, err := decode(body)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(msg, got, protocmp.Transform()); d != "" {
			t.Fatal(d)
		}
	})
}

func TestReportsBothWays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := new(sidecarpb.DeliveryReports)
		var ranges []wire.Range
		for range rapid.IntRange(0, 4).Draw(t, "ranges") {
			r := wire.Range{First: rapid.Uint64().Draw(t, "first"), Count: rapid.Uint64().Draw(t, "count")}
			ranges = append(ranges, r)
			want.Acked = append(want.Acked, &sidecarpb.Range{First: r.First, Count: r.Count})
		}
		for range rapid.IntRange(0, 3).Draw(t, "failed") {
			want.Failed = append(want.Failed, &sidecarpb.UnitFailure{Sequence: rapid.Uint64().Draw(t, "seq"), Output: 1, Topic: rapid.String().Draw(t, "topic"),
				Partition: rapid.Int32().Draw(t, "p"), Error: &sidecarpb.Error{Code: "X", Message: rapid.String().Draw(t, "msg"), Retryable: true}})
		}
		encoded := wire.AppendReports(nil, ranges, want.GetFailed())
		generated, err := proto.MarshalOptions{Deterministic: true}.Marshal(&sidecarpb.DeliveryStreamResponse{Kind: &sidecarpb.DeliveryStreamResponse_Reports{Reports: want}})
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(encoded, generated) {
			t.Fatalf("encoder wrote %x, protobuf writes %x", encoded, generated)
		}
		body, hot, err := receive(t, generated).Response(new(sidecarpb.DeliveryStreamResponse))
		if err != nil || !hot {
			t.Fatalf("hot %v, err %v", hot, err)
		}
		got := new(sidecarpb.DeliveryReports)
		err = wire.DecodeReports(body, func(r wire.Range) {
			got.Acked = append(got.Acked, &sidecarpb.Range{First: r.First, Count: r.Count})
		}, func(f *sidecarpb.UnitFailure) { got.Failed = append(got.Failed, f) })
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got, protocmp.Transform()); d != "" {
			t.Fatal(d)
		}
	})
}

func TestColdMessagesGoThroughProtobuf(t *testing.T) {
	up := &sidecarpb.DeliveryStreamRequest{Kind: &sidecarpb.DeliveryStreamRequest_Hello{Hello: &sidecarpb.Hello{Version: 1, App: "a", SessionId: "s"}}}
	b, _ := proto.Marshal(up)
	cold := new(sidecarpb.DeliveryStreamRequest)
	if _, hot, err := receive(t, b).Request(cold); hot || err != nil {
		t.Fatalf("hot %v, err %v", hot, err)
	}
	if d := cmp.Diff(up, cold, protocmp.Transform()); d != "" {
		t.Fatal(d)
	}
	if _, _, err := receive(t, []byte{0xff, 0xff}).Request(cold); err == nil {
		t.Fatal("garbage was accepted")
	}
}

// A oneof that is set twice merges, in protobuf; such a message takes the slow way and says the
// same.
func TestUnusualShapesAreUnderstood(t *testing.T) {
	one := &sidecarpb.Units{FirstSequence: 7, Units: []*sidecarpb.Unit{{Outputs: []*sidecarpb.Output{{Value: []byte("x")}}}}}
	b := append(marshalRequest(t, one), marshalRequest(t, &sidecarpb.Units{ExpiresAtNs: 9, Units: one.Units})...)
	b = append(b, 0xfa, 0x01, 0x00) // and an unknown field 31
	want := new(sidecarpb.DeliveryStreamRequest)
	if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(b, want); err != nil {
		t.Fatal(err)
	}
	body, hot, err := receive(t, b).Request(new(sidecarpb.DeliveryStreamRequest))
	if err != nil || !hot {
		t.Fatalf("hot %v, err %v", hot, err)
	}
	got, err := decode(body)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want.GetUnits(), got, protocmp.Transform()); d != "" {
		t.Fatal(d)
	}
}

func TestHeadersAreBounded(t *testing.T) {
	o := &sidecarpb.Output{Headers: slices.Repeat([]*sidecarpb.Header{{}}, 11)}
	b, _ := proto.Marshal(&sidecarpb.Units{Units: []*sidecarpb.Unit{{Outputs: []*sidecarpb.Output{o}}}})
	us := wire.Units{MaxHeaders: 10}
	if err := us.Parse(b, nil); err != nil {
		t.Fatal(err)
	}
	var x wire.Unit
	var out wire.Output
	us.Next(&x)
	if ok, err := x.Next(&out); err != nil || !ok || x.HeadersLeft >= 0 || len(us.Headers) != 10 {
		t.Fatalf("%v %v, %d left: an eleventh header passed a bound of ten", ok, err, x.HeadersLeft)
	}
}

// Free returns the buffer to gRPC's pool only when the last reference is gone, and the codec leaves
// the sender's reference alone.
func TestBuffersAreCounted(t *testing.T) {
	var pool countingPool
	data := make([]byte, 4096)
	buf := mem.NewBuffer(&data, &pool)
	out, err := wire.Codec{}.Marshal(&wire.Raw{Buffers: mem.BufferSlice{buf}})
	if err != nil {
		t.Fatal(err)
	}
	out.Free() // gRPC has sent it
	if pool.puts != 0 {
		t.Fatal("gRPC freed the sender's reference")
	}
	var m wire.Message
	if err := (wire.Codec{}).Unmarshal(mem.BufferSlice{buf}, &m); err != nil {
		t.Fatal(err)
	}
	buf.Free() // gRPC frees what it received as soon as Unmarshal has returned
	if pool.puts != 0 || len(m.Bytes()) != 4096 {
		t.Fatal("the message did not keep its buffer")
	}
	m.Free()
	m.Free()
	if pool.puts != 1 {
		t.Fatalf("the buffer came back %d times", pool.puts)
	}
}

type countingPool struct{ puts int }

func (p *countingPool) Get(n int) *[]byte { b := make([]byte, n); return &b }
func (p *countingPool) Put(*[]byte)       { p.puts++ }
