package sidecar_test

import (
	"testing"

	"github.com/ackmark/ackmark/sidecar/sidecartest"
)

// BenchmarkLatency is the way of one unit, alone, without linger: client, gRPC, sidecar, broker, and its report.
func BenchmarkLatency(b *testing.B) {
	kafka := cluster(b)
	sc := sidecartest.Start(b, kafka.ListenAddrs(), nil)
	c := hello(b, dial(b, sc.Target), "latency")
	unit := plain("one", 1)
	n := 0
	for b.Loop() {
		n++
		c.units(unit...)
		c.reported(n)
	}
}
