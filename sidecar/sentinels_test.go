package sidecar

import (
	"context"
	"testing"

	"github.com/ackmark/ackmark/internal/ledger"
)

// What comes for a session that is over is not entered: its sentinel counts nothing. It counts what
// would be.
func TestSentinelOfClosedSessions(t *testing.T) {
	srv := idle(t)
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
	srv.sink.stillOpen(s, 2)
	if count() != before+1 {
		t.Error("the sentinel does not see a session that is over")
	}
}
