package sidecar_test

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
	"github.com/ackmark/ackmark/sidecar/sidecartest"
)

func TestUnitsReachKafkaAndAreReported(t *testing.T) {
	kafka := cluster(t)
	sc := sidecartest.Start(t, kafka.ListenAddrs(), nil)
	c := hello(t, dial(t, sc.Target), "s1")
	c.assign(&sidecarpb.AssignedPartition{Epoch: 7, Topic: "in", Partition: 3, StartOffset: 100})

	units := plain("out", 50)
	for i := range units {
		units[i].src = wire.Source{Epoch: 7, Index: uint64(i), Offset: int64(100 + 2*i)}
	}
	units[10].outs = nil // filtered
	units[20].outs = append(units[20].outs, kgo.Record{Topic: "one", Partition: -1, Value: []byte{}, Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("x")}}})
	c.units(units...)
	c.reported(50)
	if len(c.failed) != 0 {
		t.Fatalf("failed: %v", c.failed)
	}
	st, err := sc.Status(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if mark := st.GetSessions()[0].GetPartitions()[0].GetAckMark(); mark != 100+2*49+1 {
		t.Errorf("ack mark %d, want %d", mark, 100+2*49+1)
	}
	c.goodbye()
	if err := c.until(func() bool { return false }); !errors.Is(err, io.EOF) {
		t.Fatalf("the stream ended with %v", err)
	}
	if got := consume(t, kafka.ListenAddrs(), "out", 49); len(got) != 49 {
		t.Fatalf("%d records", len(got))
	}
	one := consume(t, kafka.ListenAddrs(), "one", 1)[0]
	if one.Key != nil || one.Value == nil || len(one.Headers) != 1 || one.Headers[0].Key != "h" || string(one.Headers[0].Value) != "x" {
		t.Errorf("record %+v", one)
	}
}

func TestEmitAcked(t *testing.T) {
	kafka := cluster(t)
	sc := sidecartest.Start(t, kafka.ListenAddrs(), nil)
	api := sidecarpb.NewSidecarClient(dial(t, sc.Target))
	for i := range 3 {
		resp, err := api.Emit(context.Background(), &sidecarpb.EmitRequest{Record: &sidecarpb.Record{Topic: "one", Key: []byte("k"), Value: []byte("v")}})
		if err != nil || !resp.GetSuccess() || resp.GetOffset() != int64(i) {
			t.Fatalf("emit %d: %v, %v", i, resp, err)
		}
	}
	resp, err := api.Emit(context.Background(), &sidecarpb.EmitRequest{Record: &sidecarpb.Record{Topic: "nosuchtopic", Value: []byte("v")}})
	if err != nil || resp.GetSuccess() || resp.GetError().GetCode() != "UNKNOWN_TOPIC_OR_PARTITION" || resp.GetError().GetRetryable() {
		t.Fatalf("%v, %v", resp, err)
	}
}
