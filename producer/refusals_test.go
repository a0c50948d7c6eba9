package producer_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/producer/producertest"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// everyWay returns a producer of each form, and unary Emit, on one embedded broker.
func everyWay(t *testing.T) (b *broker, ways map[string]producer.Producer, api sidecarpb.SidecarClient) {
	t.Helper()
	b = newBroker(t)
	socket := filepath.Join(t.TempDir(), "s", "sidecar.sock")
	startSidecar(t, b, socket)
	quiet := slog.New(slog.DiscardHandler)
	own := producer.DirectConfig{Brokers: b.ListenAddrs(), Options: quick, Logger: quiet}
	ways = map[string]producer.Producer{
		"direct":  producer.Direct(own),
		"sidecar": producer.DialConfig{Target: "unix://" + socket, App: "test", Logger: quiet}.New(),
		"fallback": producer.DialConfig{Target: "unix:///no/such/sidecar.sock", App: "test", Logger: quiet,
			Fallback: producer.FallbackConfig{Mode: producer.Forced, Direct: own}}.New(),
	}
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		for _, p := range ways {
			_ = p.Close()
		}
	})
	return b, ways, sidecarpb.NewSidecarClient(conn)
}

func unary(r producer.Record) *sidecarpb.EmitRequest {
	rec := &sidecarpb.Record{Topic: r.Topic, Partition: r.Partition, Key: r.Key, Value: r.Value}
	if !r.Timestamp.IsZero() {
		rec.TimestampMs = new(r.Timestamp.UnixMilli())
	}
	for _, h := range r.Headers {
		rec.Headers = append(rec.Headers, &sidecarpb.Header{Key: h.Key, Value: h.Value})
	}
	return &sidecarpb.EmitRequest{Record: rec}
}

// Every way refuses alike: the same code, and the same word on whether to try again.
func TestEveryWayRefusesAlike(t *testing.T) {
	_, ways, api := everyWay(t)
	ctx, cancel := context.WithTimeout(t.Context(), producertest.Patience)
	defer cancel()
	for name, c := range map[string]struct {
		rec  producer.Record
		code string
	}{
		"no topic":           {producer.Record{}, "INVALID_RECORD_FIELD"},
		"unknown topic":      {producer.Record{Topic: badTopic}, "UNKNOWN_TOPIC_OR_PARTITION"},
		"space in its name":  {producer.Record{Topic: "a b"}, "INVALID_TOPIC_EXCEPTION"},
		"dots":               {producer.Record{Topic: ".."}, "INVALID_TOPIC_EXCEPTION"},
		"long name":          {producer.Record{Topic: strings.Repeat("x", 250)}, "INVALID_TOPIC_EXCEPTION"},
		"unknown partition":  {producer.Record{Topic: producertest.TopicA, Partition: new(int32(99))}, "UNKNOWN_TOPIC_OR_PARTITION"},
		"negative partition": {producer.Record{Topic: producertest.TopicA, Partition: new(int32(-1))}, "INVALID_RECORD_FIELD"},
		"too large":          {producer.Record{Topic: producertest.TopicA, Value: noise(2 << 20)}, "MESSAGE_TOO_LARGE"},
		"year 1":             {producer.Record{Topic: producertest.TopicA, Timestamp: time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC)}, "INVALID_RECORD_FIELD"},
	} {
		for way, p := range ways {
			var e *producer.Error
			if _, err := p.Emit(ctx, c.rec); !errors.As(err, &e) || e.Code != c.code || e.Retryable {
				t.Errorf("%s by %s: %v, want %s", name, way, err, c.code)
			}
			if _, err := p.Emit(ctx, producer.Record{Topic: producertest.TopicA}); err != nil {
				t.Fatalf("after %s by %s: %v", name, way, err)
			}
		}
		answer, err := api.Emit(ctx, unary(c.rec))
		if err != nil || answer.GetError().GetCode() != c.code || answer.GetError().GetRetryable() || answer.GetSidecarId() == "" {
			t.Errorf("%s by a unary Emit: %v %v, want %s", name, answer, err, c.code)
		}
	}
}

// A reader finds the same record, by whichever way it came.
func TestEveryWayWritesAlike(t *testing.T) {
	b, ways, api := everyWay(t)
	ctx, cancel := context.WithTimeout(t.Context(), producertest.Patience)
	defer cancel()
	at := time.Now()
	partition := int32(0)
	list := []producer.Record{
		{Timestamp: time.UnixMilli(0)}, {Timestamp: time.UnixMilli(-1)}, {Timestamp: time.UnixMilli(0).Add(-1)}, {Timestamp: at.Add(-time.Hour)},
		{Key: []byte{}, Timestamp: at}, {Value: []byte{}, Timestamp: at}, {Key: []byte{0xff}, Value: []byte{0xfe, 0}, Timestamp: at},
		{Headers: []producer.Header{{}, {Key: "é", Value: []byte{}}, {Key: "h"}, {Key: "h", Value: []byte{0xff}}}, Timestamp: at},
		{Headers: make([]producer.Header, 3000), Timestamp: at},
	}
	var want []producer.Record
	for i, r := range list {
		r.Topic, r.Partition = producertest.TopicA, &partition
		for way, p := range ways {
			if _, err := p.Emit(ctx, r); err != nil {
				t.Fatalf("record %d by %s: %v", i, way, err)
			}
			want = append(want, r)
		}
		if answer, err := api.Emit(ctx, unary(r)); err != nil || !answer.GetSuccess() {
			t.Fatalf("record %d by a unary Emit: %v %v", i, answer, err)
		}
		want = append(want, r)
	}
	got := b.Records(t, producertest.TopicA)
	if len(got) != len(want) {
		t.Fatalf("%d records, want %d", len(got), len(want))
	}
	for i := range want {
		if err := producertest.Same(got[i], want[i], at); err != nil {
			t.Errorf("record %d, the %d of its four ways: %v", i/4, i%4, err)
		}
	}
}
