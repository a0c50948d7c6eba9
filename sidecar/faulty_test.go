package sidecar_test

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ackmark/ackmark/sidecar/sidecarpb"
	"github.com/ackmark/ackmark/sidecar/sidecartest"
)

// The faulty sidecar does what its methods say, and nothing else.
func TestFaultySidecar(t *testing.T) {
	kafka := cluster(t)
	sc := sidecartest.Start(t, kafka.ListenAddrs(), nil)
	f := sidecartest.NewFaulty(t, sc.Target)
	conn := dial(t, f.Target)

	c := hello(t, conn, "plain")
	c.units(plain("out", 5)...)
	c.reported(5)
	if s := f.Seen(); s.Streams != 1 || s.Frames != 1 || s.Reports == 0 {
		t.Errorf("seen %+v", s)
	}

	f.CutAfterFrames(2)
	c.units(plain("out", 1)...)
	c.units(plain("out", 1)...)
	c.ends(codes.Unavailable, "cut")

	f.RefuseHello(status.Error(codes.PermissionDenied, "not you"))
	openStream(t, conn).ends(codes.PermissionDenied, "not you")
	f.RefuseHello(nil)
	f.SpeakVersion(7)
	openStream(t, conn).ends(codes.FailedPrecondition, "version 7")
	f.SpeakVersion(0)

	f.ShrinkCredit(1000, 3)
	if c = hello(t, conn, "small"); c.welcome.GetCredit().GetBytes() != 1000 || c.welcome.GetCredit().GetRecords() != 3 {
		t.Errorf("credit %v", c.welcome.GetCredit())
	}
	f.ShrinkCredit(0, 0)

	f.WithholdReports(true)
	before := f.Seen().Reports
	c.units(plain("out", 2)...)
	c.goodbye()
	got := make(chan struct{})
	go func() {
		defer close(got)
		c.reported(2)
	}()
	select {
	case <-got:
		t.Error("a report came through")
	case <-time.After(50 * time.Millisecond):
	}
	if f.Seen().Reports != before {
		t.Error("reports passed while withheld")
	}
	f.WithholdReports(false)
	<-got

	f.DelayReports(20 * time.Millisecond)
	began := time.Now()
	c = hello(t, conn, "slow")
	if took := time.Since(began); took < 20*time.Millisecond {
		t.Errorf("Welcome after %v", took)
	}
	f.DelayReports(0)

	f.Restart()
	if err := c.until(func() bool { return false }); status.Code(err) == codes.OK {
		t.Errorf("after a restart: %v", err)
	}
	again := hello(t, dial(t, f.Target), "again")
	again.send(&sidecarpb.DeliveryStreamRequest{})
	again.units(plain("out", 1)...)
	again.reported(1)
}
