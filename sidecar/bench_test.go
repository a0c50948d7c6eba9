package sidecar_test

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
	"github.com/ackmark/ackmark/sidecar/sidecartest"
)

const benchFrame = 256

// BenchmarkStream is one session that sends frames of 256 units of one 116-byte record, prepared in
// advance, through gRPC, sidecar and producer to a broker that throws them away. One operation is
// one record. Allocations are those of the whole process, the broker's included: -memprofile tells
// whose they are.
func BenchmarkStream(b *testing.B) {
	kafka := cluster(b, kfake.BlackholeProduce())
	sc := sidecartest.Start(b, kafka.ListenAddrs(), func(c *sidecar.Config) { c.MaxSessions = 8; c.Linger = 0 })
	c := hello(b, dial(b, sc.Target), "bench")
	c.assign(&sidecarpb.AssignedPartition{Epoch: 1, Topic: "in"})
	c.units(plain("out", 1)...)
	c.reported(1)
	credit, records := sc.Credit()
	body := benchUnits()
	frames := make(chan struct{}, min(credit/int64(len(body)), int64(records/benchFrame))-1) // in frames
	done := make(chan error, 1)
	total := (b.N + benchFrame - 1) / benchFrame
	b.ReportAllocs()
	b.ResetTimer()
	go func() { done <- receiveFrames(c.stream, frames, total) }()
	for i := range total {
		frames <- struct{}{}
		h := wire.UnitsHeader{FirstSequence: uint64(2 + i*benchFrame)}
		head := wire.AppendUnitsHeader(make([]byte, 0, 32), &h, len(body))
		if err := c.stream.SendMsg(&wire.Raw{Buffers: mem.BufferSlice{mem.SliceBuffer(head), mem.SliceBuffer(body)}}); err != nil {
			b.Fatal(err)
		}
	}
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

func benchUnits() []byte {
	var body []byte
	for i := range benchFrame {
		start := len(body)
		out := wire.Output{Partition: -1, Key: fmt.Appendf(nil, "key-%012d", i), Value: make([]byte, 100)}
		body = wire.OpenUnit(body, wire.Source{})
		body = wire.AppendOutput(body, &out)
		body = wire.CloseUnit(body, start)
	}
	return body
}

// receiveFrames gives a frame of credit back for each 256 units that are reported.
func receiveFrames(stream grpc.ClientStream, frames chan struct{}, total int) error {
	var m wire.Message
	units, free := 0, 0
	for units < total*benchFrame {
		if err := stream.RecvMsg(&m); err != nil {
			return err
		}
		body, _, err := m.Response(new(sidecarpb.DeliveryStreamResponse))
		if err != nil {
			return err
		}
		var failed *sidecarpb.UnitFailure
		if err := wire.DecodeReports(body, func(r wire.Range) { units += int(r.Count) }, func(f *sidecarpb.UnitFailure) { failed = f }); err != nil || failed != nil {
			return fmt.Errorf("%v, %w", failed, err)
		}
		m.Free()
		for ; (free+1)*benchFrame <= units; free++ {
			<-frames
		}
	}
	return nil
}
