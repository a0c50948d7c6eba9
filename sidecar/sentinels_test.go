package sidecar

import (
	"context"
	"testing"

	"github.com/ackmark/ackmark/internal/ledger"
	"github.com/ackmark/ackmark/internal/proof/measured"
	"github.com/ackmark/ackmark/internal/sentinel"
	"github.com/ackmark/ackmark/internal/telemetry"
)

// What comes for a session that is over is not entered: its sentinel counts nothing. It counts what
// would be.
func TestSentinelOfClosedSessions(t *testing.T) {
	meter := measured.New()
	srv := idle(t, func(c *Config) { c.MeterProvider = meter })
	defer srv.observe()()
	s := srv.testSession(t)
	count := func() uint64 {
		status, err := srv.Status(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		return status.GetSentinels().GetClosedAdmitted()
	}
	send := func(first uint64) error {
		f := s.testFrame(first, 2, ledger.Cost{Bytes: 10, Records: 1})
		f.sink = srv.sink
		return s.admit(s.stream, f)
	}
	if err := send(1); err != nil || count() != 0 {
		t.Fatalf("a living session: %v, and the sentinel counts %d", err, count())
	}
	s.end(errReplaced)
	s.settle()
	if _ = send(3); count() != 0 {
		t.Errorf("sentinel closed_admitted counts %d: units of a session that is over were entered", count())
	}
	before := count()
	meter.Collect(t).Want(t, float64(before), telemetry.ClosedAdmitted)
	srv.sink.stillOpen(s, 2)
	if count() != before+1 {
		t.Error("the sentinel does not see a session that is over")
	}
	got := meter.Collect(t)
	got.Want(t, float64(before+1), telemetry.ClosedAdmitted)
	got.Want(t, 0, telemetry.CommitBeyond)
	srv.sink.watch.Found(sentinel.CommitBeyond) // as lastWills does
	got = meter.Collect(t)
	got.Want(t, 1, telemetry.CommitBeyond)
	got.Want(t, float64(before+1), telemetry.ClosedAdmitted)
}
