package sidecar

import (
	"math/rand/v2"
	"testing"

	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// Whatever comes and goes, windows never sum up to more than sessions may have, and each has its
// floor (S9).
func TestWindowsStayWithinTheBudget(t *testing.T) {
	for _, cfg := range []Config{
		{MaxBytes: 64 << 20, MaxRecords: 256 << 10, MaxSessions: 64},
		{MaxBytes: 8 << 20, MaxRecords: 20_000, MaxSessions: 64},
		{MaxBytes: 1 << 20, MaxRecords: 4096, MaxSessions: 1},
	} {
		s, floor := &Server{cfg: cfg}, cfg.floor()
		random := rand.New(rand.NewPCG(1, 1))
		var open []window
		for range 10_000 {
			if len(open) < cfg.MaxSessions && random.IntN(2) == 0 {
				open = append(open, s.grant())
			} else if len(open) > 0 {
				i := random.IntN(len(open))
				s.giveBack(open[i])
				open[i] = open[len(open)-1]
				open = open[:len(open)-1]
			}
			var bytes int64
			records := 0
			for _, w := range open {
				bytes, records = bytes+w.bytes, records+w.records
				if w.bytes < floor.bytes || w.records < floor.records {
					t.Fatalf("a window of %+v below the floor %+v", w, floor)
				}
			}
			if bytes > cfg.MaxBytes/8*7 || records > cfg.MaxRecords/8*7 {
				t.Fatalf("%d windows sum up to %d bytes and %d records of %d and %d", len(open), bytes, records, cfg.MaxBytes, cfg.MaxRecords)
			}
		}
		for _, w := range open {
			s.giveBack(w)
		}
		if s.lent != (window{}) {
			t.Errorf("all gave back, and %+v is still lent", s.lent)
		}
	}
}

// With the default budget an app that is alone has enough for full speed: less than this, and every
// linger ends in a wait (G2).
func TestAnAppAloneIsNotBoundByItsWindow(t *testing.T) {
	s := &Server{cfg: Config{MaxBytes: 64 << 20}.WithDefaults()}
	if w := s.grant(); w.bytes < 4<<20 || w.records < 16_000 {
		t.Errorf("the first window is %+v", w)
	}
}

// The session that a stream joins has the window that was granted, also when it replaces another,
// and leaving gives it back.
func TestJoiningGrantsAWindow(t *testing.T) {
	s := idle(t)
	a, err := s.apps.get("app", "")
	if err != nil {
		t.Fatal(err)
	}
	var last *session
	for range 3 {
		if last, err = s.join(newDelivery(s, helloStream{}), &sidecarpb.Hello{SessionId: "s"}, a); err != nil {
			t.Fatal(err)
		}
		if floor := s.cfg.floor(); last.window.records <= floor.records || last.window.bytes <= floor.bytes {
			t.Errorf("the session has a window of %+v, the floor is %+v", last.window, floor)
		}
	}
	s.testLeave(last)
	if s.lent != (window{}) {
		t.Errorf("nobody is left, and %+v is lent", s.lent)
	}
}

// testLeave ends a session as its clean end does.
func (s *Server) testLeave(sess *session) { s.close(sess, errStreamDone) }
