package wire_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// FuzzUnits compares the decoder with the generated code on any bytes: what protobuf accepts, it
// accepts and reads alike.
func FuzzUnits(f *testing.F) {
	for _, u := range []*sidecarpb.Units{
		{},
		{FirstSequence: 1, ExpiresAtNs: 2, Topics: []*sidecarpb.TopicName{{Index: 1, Name: "t"}}},
		{Units: []*sidecarpb.Unit{{Source: &sidecarpb.Source{Epoch: 1, Index: 2, Offset: -3}, Outputs: []*sidecarpb.Output{{
			Topic: 1, Partition: proto.Int32(2), Key: []byte("k"), Value: []byte{}, Headers: []*sidecarpb.Header{{Key: "h", Value: []byte("v")}}, TimestampMs: proto.Int64(5)}}}}},
		{Units: []*sidecarpb.Unit{ // the usual shape, and what is nearly it
			{Source: &sidecarpb.Source{Epoch: 1, Index: 300, Offset: 1 << 40}, Outputs: []*sidecarpb.Output{{Topic: 3, Key: []byte("k"), Value: make([]byte, 200)}, {Key: []byte("k")}}},
			{Outputs: []*sidecarpb.Output{{Value: []byte{}}, {}, {Topic: 300, Value: []byte("v")}, {Key: make([]byte, 1<<14), Value: []byte("v")}, {Value: []byte("v"), TimestampMs: proto.Int64(0)}}},
		}},
	} {
		b, err := proto.Marshal(u)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte{0x22, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := decode(body)
		want := new(sidecarpb.Units)
		wantErr := proto.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(body, want)
		switch {
		case err != nil && wantErr == nil:
			t.Fatalf("protobuf reads it, the decoder says %v", err)
		case err != nil || wantErr != nil:
			return // the decoder also takes header keys that are not UTF-8: Kafka does
		}
		normalise(want)
		if d := cmp.Diff(want, got, protocmp.Transform()); d != "" {
			t.Fatal(d)
		}
	})
}

// normalise maps a partition of -1 to an absent one: they mean the same.
func normalise(u *sidecarpb.Units) {
	for _, x := range u.GetUnits() {
		for _, o := range x.GetOutputs() {
			if o.Partition != nil && *o.Partition == -1 {
				o.Partition = nil
			}
		}
	}
}

func FuzzRequest(f *testing.F) {
	f.Add([]byte{0x1a, 0x00})
	f.Add([]byte{0x1a, 0x02, 0x22, 0x00})
	f.Fuzz(func(t *testing.T, b []byte) {
		body, hot, err := receive(t, b).Request(new(sidecarpb.DeliveryStreamRequest))
		want := new(sidecarpb.DeliveryStreamRequest)
		wantErr := proto.Unmarshal(b, want)
		if wantErr == nil && err != nil {
			t.Fatalf("protobuf reads it, the decoder says %v", err)
		}
		if wantErr == nil && hot != (want.GetUnits() != nil) {
			t.Fatalf("hot %v for %T", hot, want.GetKind())
		}
		if hot {
			_, _ = decode(body)
		}
	})
}

func FuzzReports(f *testing.F) {
	f.Add([]byte{0x0a, 0x02, 0x08, 0x01})
	f.Add([]byte{0x0a, 0x02, 0x30, 0x30}) // an unknown field inside
	f.Fuzz(func(t *testing.T, body []byte) {
		got := new(sidecarpb.DeliveryReports)
		err := wire.DecodeReports(body, func(r wire.Range) {
			got.Acked = append(got.Acked, &sidecarpb.Range{First: r.First, Count: r.Count})
		}, func(x *sidecarpb.UnitFailure) { got.Failed = append(got.Failed, x) })
		want := new(sidecarpb.DeliveryReports)
		if wantErr := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(body, want); wantErr != nil || err != nil {
			if wantErr == nil {
				t.Fatalf("protobuf reads it, the decoder says %v", err)
			}
			return
		}
		if d := cmp.Diff(want, got, protocmp.Transform()); d != "" {
			t.Fatal(d)
		}
	})
}
