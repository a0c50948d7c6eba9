package wire_test

import (
	"testing"
	"time"

	"github.com/ackmark/ackmark/internal/childproc"
	"github.com/ackmark/ackmark/internal/wire"
)

const perFrame = 256

func frame(units []byte) []byte {
	out := wire.Output{Partition: -1, Key: []byte("key-0123456789ab"), Value: make([]byte, 100)}
	for i := range perFrame {
		start := len(units)
		units = wire.OpenUnit(units, wire.Source{Epoch: 3, Index: uint64(i), Offset: int64(1_000_000 + i)})
		units = wire.AppendOutput(units, &out)
		units = wire.CloseUnit(units, start)
	}
	return units
}

// BenchmarkEncode is the cost of one record of 116 bytes in a frame of 256.
func BenchmarkEncode(b *testing.B) {
	buf := make([]byte, 0, 1<<17)
	b.ReportAllocs()
	began := childproc.OwnCPUTime() // other work on the machine is not ours
	for b.Loop() {
		buf = frame(buf[:0])
	}
	perRecord(b, began)
}

func BenchmarkDecode(b *testing.B) {
	units := frame(nil)
	h := wire.UnitsHeader{FirstSequence: 1}
	msg := append(wire.AppendUnitsHeader(nil, &h, len(units)), units...)[4:]
	var us wire.Units
	var x wire.Unit
	var out wire.Output
	b.ReportAllocs()
	began := childproc.OwnCPUTime() // other work on the machine is not ours
	for b.Loop() {
		if err := us.Parse(msg, nil); err != nil || us.Count != perFrame {
			b.Fatal(us.Count, err)
		}
		for us.Next(&x) {
			for ok, _ := x.Next(&out); ok; ok, _ = x.Next(&out) {
			}
		}
	}
	perRecord(b, began)
}

func perRecord(b *testing.B, began time.Duration) {
	b.ReportMetric(float64(childproc.OwnCPUTime()-began)/float64(b.N)/perFrame, "cpu-ns/record")
}
