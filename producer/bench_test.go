package producer_test

import (
	"context"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/test/bufconn"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// counter is a Reporter that counts.
type counter struct{ n atomic.Int64 }

func (c *counter) Acked(_, n int)                  { c.n.Add(int64(n)) }
func (c *counter) Failed(_ int, e *producer.Error) { panic(e) }

func (c *counter) wait(n int64) {
	for c.n.Load() < n {
		runtime.Gosched()
	}
}

const benchBatch = 256

func benchUnits() []producer.Unit {
	units := make([]producer.Unit, benchBatch)
	outs := make([]producer.Record, benchBatch)
	for i := range units {
		outs[i] = producer.Record{Topic: "conformance-a", Key: []byte("key-" + strconv.Itoa(i%64)), Value: make([]byte, 100)}
		units[i].Outputs = outs[i : i+1]
	}
	return units
}

// null is a sidecar that acknowledges without looking: what is measured is the client and gRPC.
type null struct {
	sidecarpb.UnimplementedSidecarServer
}

func serveNull(b *testing.B) *bufconn.Listener {
	lis := bufconn.Listen(1 << 20)
	desc := grpc.ServiceDesc{ServiceName: sidecarpb.Sidecar_ServiceDesc.ServiceName, HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{{StreamName: "DeliveryStream", ServerStreams: true, ClientStreams: true, Handler: func(_ any, s grpc.ServerStream) error {
			var m wire.Message
			if err := s.RecvMsg(&m); err != nil {
				return err
			}
			if err := s.SendMsg(&sidecarpb.DeliveryStreamResponse{Kind: &sidecarpb.DeliveryStreamResponse_Welcome{Welcome: &sidecarpb.Welcome{
				Version: 1, Credit: &sidecarpb.Credit{Bytes: 8 << 20, Records: 1 << 16}}}}); err != nil {
				return err
			}
			for {
				if err := s.RecvMsg(&m); err != nil {
					return nil //nolint:nilerr // the client has ended the stream
				}
				var cold sidecarpb.DeliveryStreamRequest
				body, hot, err := m.Request(&cold)
				if err != nil {
					return err
				}
				if !hot {
					if cold.GetGoodbye() != nil {
						return nil
					}
					continue
				}
				var us wire.Units
				if err := us.Parse(body, func(uint32, string) error { return nil }); err != nil {
					return err
				}
				report := wire.AppendReports(nil, []wire.Range{{First: us.FirstSequence, Count: uint64(us.Count)}}, nil)
				m.Free()
				if err := s.SendMsg(&wire.Raw{Buffers: mem.BufferSlice{mem.SliceBuffer(report)}}); err != nil {
					return err
				}
			}
		}}}}
	server := grpc.NewServer(grpc.ForceServerCodecV2(wire.Codec{}), grpc.MaxRecvMsgSize(16<<20))
	server.RegisterService(&desc, null{})
	go func() { _ = server.Serve(lis) }()
	b.Cleanup(server.Stop)
	return lis
}

// BenchmarkClient is Deliver, encode, send and report per record; the server's share (gRPC's
// reading and writing) is in it.
func BenchmarkClient(b *testing.B) {
	lis := serveNull(b)
	cfg := producer.DialConfig{Target: "null", Dialer: lis.DialContext}
	p := cfg.New()
	defer p.Close()
	units := benchUnits()
	var c counter
	ctx := context.Background()
	deliver := func() {
		if err := p.Deliver(ctx, units, &c); err != nil {
			b.Fatal(err)
		}
	}
	deliver()
	c.wait(benchBatch)
	perRecord(b, func() int64 {
		n := c.n.Load()
		for b.Loop() {
			deliver()
			n += benchBatch
		}
		c.wait(n)
		return int64(b.N) * benchBatch
	})
}

// BenchmarkDirect and BenchmarkKgo are the same work through Direct and by hand; their difference
// is what Direct costs.
func BenchmarkDirect(b *testing.B) {
	broker := newBroker(b)
	p := producer.Direct(producer.DirectConfig{Brokers: broker.ListenAddrs(), MaxBufferedRecords: 50_000, Options: []kgo.Opt{kgo.DisableClientMetrics()}})
	defer p.Close()
	units := benchUnits()
	var c counter
	ctx := context.Background()
	deliver := func() {
		if err := p.Deliver(ctx, units, &c); err != nil {
			b.Fatal(err)
		}
	}
	deliver()
	c.wait(benchBatch)
	perRecord(b, func() int64 {
		n := c.n.Load()
		for b.Loop() {
			deliver()
			n += benchBatch
		}
		c.wait(n)
		return int64(b.N) * benchBatch
	})
}

func BenchmarkKgo(b *testing.B) {
	broker := newBroker(b)
	cl, err := kgo.NewClient(kgo.SeedBrokers(broker.ListenAddrs()...), kgo.MaxBufferedRecords(50_000), kgo.DisableClientMetrics(),
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))
	if err != nil {
		b.Fatal(err)
	}
	defer cl.Close()
	units := benchUnits()
	var c counter
	promise := func(_ *kgo.Record, err error) {
		if err != nil {
			panic(err)
		}
		c.n.Add(1)
	}
	ctx := context.Background()
	deliver := func() {
		for i := range units {
			out := &units[i].Outputs[0]
			cl.Produce(ctx, &kgo.Record{Topic: out.Topic, Key: out.Key, Value: out.Value}, promise)
		}
	}
	deliver()
	c.wait(benchBatch)
	perRecord(b, func() int64 {
		n := c.n.Load()
		for b.Loop() {
			deliver()
			n += benchBatch
		}
		c.wait(n)
		return int64(b.N) * benchBatch
	})
}

// perRecord reports time and allocations of the whole process per record.
func perRecord(b *testing.B, run func() int64) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	n := run()
	d := time.Since(start)
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(d.Nanoseconds())/float64(n), "ns/record")
	b.ReportMetric(float64(after.Mallocs-before.Mallocs)/float64(n), "allocs/record")
	b.ReportMetric(0, "ns/op")
}
