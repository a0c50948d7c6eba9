package sidecar_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// client is a plain client of the wire protocol, for tests.
type client struct {
	t       testing.TB
	stream  grpc.ClientStream
	welcome *sidecarpb.Welcome
	next    uint64
	sent    atomic.Uint64 // what next was before the last send; read by receivers
	expires uint64
	topics  map[string]uint32
	cancel  context.CancelFunc

	acked    map[uint64]bool
	failed   map[uint64]*sidecarpb.UnitFailure
	released map[uint64]bool
	heir     map[uint64]bool
	draining bool
	routes   *sidecarpb.Routes
	fenced   []*sidecarpb.MemberFenced
}

func dial(t testing.TB, target string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.ForceCodecV2(wire.Codec{})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

var streamDesc = &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}

func openStream(t testing.TB, conn *grpc.ClientConn) *client {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	stream, err := conn.NewStream(ctx, streamDesc, sidecarpb.Sidecar_DeliveryStream_FullMethodName)
	if err != nil {
		t.Fatal(err)
	}
	return &client{t: t, stream: stream, next: 1, topics: make(map[string]uint32), cancel: cancel,
		acked: make(map[uint64]bool), failed: make(map[uint64]*sidecarpb.UnitFailure), released: make(map[uint64]bool), heir: make(map[uint64]bool)}
}

// hello opens a stream and says Hello.
func hello(t testing.TB, conn *grpc.ClientConn, session string) *client {
	t.Helper()
	c := openStream(t, conn)
	c.send(&sidecarpb.DeliveryStreamRequest{Kind: &sidecarpb.DeliveryStreamRequest_Hello{Hello: &sidecarpb.Hello{Version: 1, App: "app", SessionId: session}}})
	if err := c.until(func() bool { return c.welcome != nil }); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *client) send(m *sidecarpb.DeliveryStreamRequest) {
	c.t.Helper()
	if err := c.stream.SendMsg(m); err != nil && !errors.Is(err, io.EOF) {
		c.t.Fatal(err)
	}
}

func (c *client) assign(parts ...*sidecarpb.AssignedPartition) {
	c.t.Helper()
	c.send(&sidecarpb.DeliveryStreamRequest{Kind: &sidecarpb.DeliveryStreamRequest_Assign{Assign: &sidecarpb.Assign{Group: "g", MemberId: "m", Generation: 1, Partitions: parts}}})
}

func (c *client) release(id uint64, epochs ...uint64) {
	c.t.Helper()
	c.send(&sidecarpb.DeliveryStreamRequest{Kind: &sidecarpb.DeliveryStreamRequest_Release{Release: &sidecarpb.Release{RequestId: id, Epochs: epochs}}})
}

func (c *client) goodbye() {
	c.t.Helper()
	c.send(&sidecarpb.DeliveryStreamRequest{Kind: &sidecarpb.DeliveryStreamRequest_Goodbye{Goodbye: &sidecarpb.Goodbye{}}})
}

// testUnit is a unit as tests write it.
type testUnit struct {
	src  wire.Source
	outs []kgo.Record
}

func plain(topic string, n int) []testUnit {
	units := make([]testUnit, n)
	for i := range units {
		units[i].outs = []kgo.Record{{Topic: topic, Partition: -1, Key: fmt.Appendf(nil, "k%d", i), Value: fmt.Appendf(nil, "v%d", i)}}
	}
	return units
}

// units sends one frame and returns its first sequence number.
func (c *client) units(units ...testUnit) uint64 {
	c.t.Helper()
	first := c.next
	if err := c.sendUnits(units); err != nil && !errors.Is(err, io.EOF) {
		c.t.Fatal(err)
	}
	return first
}

func (c *client) sendUnits(units []testUnit) error {
	h := wire.UnitsHeader{FirstSequence: c.next, ExpiresAtNs: c.expires}
	var body []byte
	for _, u := range units {
		start := len(body)
		body = wire.OpenUnit(body, u.src)
		for _, r := range u.outs {
			idx, ok := c.topics[r.Topic]
			if !ok {
				idx = uint32(len(c.topics))
				c.topics[r.Topic] = idx
				h.Topics = append(h.Topics, wire.TopicName{Index: idx, Name: r.Topic})
			}
			out := wire.Output{Topic: idx, Partition: r.Partition, Key: r.Key, Value: r.Value, Headers: r.Headers}
			body = wire.AppendOutput(body, &out)
		}
		body = wire.CloseUnit(body, start)
	}
	c.next += uint64(len(units))
	c.sent.Store(c.next)
	head := wire.AppendUnitsHeader(nil, &h, len(body))
	return c.stream.SendMsg(&wire.Raw{Buffers: mem.BufferSlice{mem.SliceBuffer(head), mem.SliceBuffer(body)}})
}

// until receives until the condition holds; the error is the stream's end.
func (c *client) until(done func() bool) error {
	for !done() {
		if err := c.recv(); err != nil {
			return err
		}
	}
	return nil
}

func (c *client) recv() error {
	var m wire.Message
	if err := c.stream.RecvMsg(&m); err != nil {
		return err
	}
	defer m.Free()
	var cold sidecarpb.DeliveryStreamResponse
	body, hot, err := m.Response(&cold)
	if err != nil {
		return err
	}
	if hot {
		return wire.DecodeReports(body, c.onAcked, func(f *sidecarpb.UnitFailure) { c.report(f.GetSequence()); c.failed[f.GetSequence()] = f })
	}
	switch k := cold.GetKind().(type) {
	case *sidecarpb.DeliveryStreamResponse_Welcome:
		c.welcome = k.Welcome
	case *sidecarpb.DeliveryStreamResponse_Released:
		c.released[k.Released.GetRequestId()] = true
	case *sidecarpb.DeliveryStreamResponse_Inherited:
		c.heir[k.Inherited.GetRequestId()] = true
	case *sidecarpb.DeliveryStreamResponse_Draining:
		c.draining = true
	case *sidecarpb.DeliveryStreamResponse_MemberFenced:
		c.fenced = append(c.fenced, k.MemberFenced)
	case *sidecarpb.DeliveryStreamResponse_Routes:
		c.routes = k.Routes
	}
	return nil
}

func (c *client) onAcked(r wire.Range) {
	for s := r.First; s < r.First+r.Count; s++ {
		c.report(s)
		c.acked[s] = true
	}
}

// report fails the test if a sequence is reported twice or was never sent (S12).
func (c *client) report(seq uint64) {
	if seq == 0 || seq >= c.sent.Load() {
		c.t.Errorf("sequence %d was reported, and never sent", seq)
	}
	if c.acked[seq] || c.failed[seq] != nil {
		c.t.Errorf("sequence %d was reported twice", seq)
	}
}

// reported waits until so many units are reported.
func (c *client) reported(n int) {
	c.t.Helper()
	if err := c.until(func() bool { return len(c.acked)+len(c.failed) >= n }); err != nil {
		c.t.Fatalf("%d of %d units reported: %v", len(c.acked)+len(c.failed), n, err)
	}
}
