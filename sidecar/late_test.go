package sidecar_test

import (
	"testing"

	"google.golang.org/grpc"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
	"github.com/ackmark/ackmark/sidecar/sidecartest"
)

// helloAgain opens a session that outlives its streams, or goes on with it.
func helloAgain(t *testing.T, conn *grpc.ClientConn, before *client, missing ...*sidecarpb.Range) *client {
	t.Helper()
	c := openStream(t, conn)
	h := &sidecarpb.Hello{Version: 1, App: "app", SessionId: "s", Features: []string{"resume"}, Unreported: missing}
	if before != nil {
		h.PreviousSidecarId = before.welcome.GetSidecarId()
		c.next = before.next
		c.sent.Store(c.next)
	}
	c.send(&sidecarpb.DeliveryStreamRequest{Kind: &sidecarpb.DeliveryStreamRequest_Hello{Hello: h}})
	if err := c.until(func() bool { return c.welcome != nil }); err != nil {
		t.Fatal(err)
	}
	return c
}

// late demands that exactly this sequence has expired.
func (c *client) late(seq uint64, want bool) {
	c.t.Helper()
	if got := c.failed[seq].GetError().GetCode() == wire.CodeExpired; got != want || c.acked[seq] == want {
		c.t.Fatalf("unit %d: acked %v, failed %v; want it expired: %v", seq, c.acked[seq], c.failed[seq], want)
	}
}

// What comes behind a unit that came too late is too late as well, until the client has heard of
// all that is: it is to be sent again in order (S7).
func TestNothingOvertakesALateUnit(t *testing.T) {
	kafka := cluster(t)
	sc := sidecartest.Start(t, kafka.ListenAddrs(), nil)
	conn := dial(t, sc.Target)
	c := helloAgain(t, conn, nil)
	c.units(plain("out", 1)...)
	c.reported(1)
	c.late(1, false)
	c.expires = 1 // a nanosecond after boot
	c.units(plain("out", 1)...)
	c.expires = 0
	c.units(plain("out", 2)...)
	c.reported(4)
	for seq := uint64(2); seq <= 4; seq++ {
		c.late(seq, true)
	}

	// The stream breaks, and the report of 3 was on it: what comes now is sent without knowing.
	c = helloAgain(t, conn, c, &sidecarpb.Range{First: 3, Count: 1})
	c.units(plain("out", 1)...)
	c.reported(2)
	c.late(3, true)
	c.late(5, true)

	c = helloAgain(t, conn, c)
	c.units(plain("out", 3)...)
	c.reported(3)
	for seq := uint64(6); seq <= 8; seq++ {
		c.late(seq, false)
	}
}

// A session that cannot resume sends again on the same stream, when all that it sent is reported.
func TestLateUnitsOfASessionWithoutResume(t *testing.T) {
	kafka := cluster(t)
	sc := sidecartest.Start(t, kafka.ListenAddrs(), nil)
	c := hello(t, dial(t, sc.Target), "s")
	for round := range uint64(3) {
		c.expires = 1
		c.units(plain("out", 1)...)
		c.reported(2*int(round) + 1)
		c.late(2*round+1, true)
		c.expires = 0
		c.units(plain("out", 1)...)
		c.reported(2*int(round) + 2)
		c.late(2*round+2, false)
	}
}
