package sidecar

import (
	"math/rand/v2"
	"testing"

	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// Whatever comes and goes, credits never sum up to more than sessions may have, and each has its
// floor (S9).
func TestCreditsStayWithinTheBudget(t *testing.T) {
	for _, cfg := range []Config{
		{MaxBytes: 64 << 20, MaxRecords: 256 << 10, MaxSessions: 64},
		{MaxBytes: 8 << 20, MaxRecords: 20_000, MaxSessions: 64},
		{MaxBytes: 1 << 20, MaxRecords: 4096, MaxSessions: 1},
	} {
		s, floor := newTable(&cfg, nil), cfg.floor()
		random := rand.New(rand.NewPCG(1, 1))
		var open []credit
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
			for _, c := range open {
				bytes, records = bytes+c.bytes, records+c.records
				if c.bytes < floor.bytes || c.records < floor.records {
					t.Fatalf("a credit of %+v below the floor %+v", c, floor)
				}
			}
			if bytes > cfg.MaxBytes/8*7 || records > cfg.MaxRecords/8*7 {
				t.Fatalf("%d credits sum up to %d bytes and %d records of %d and %d", len(open), bytes, records, cfg.MaxBytes, cfg.MaxRecords)
			}
		}
		for _, c := range open {
			s.giveBack(c)
		}
		if s.lent != (credit{}) {
			t.Errorf("all gave back, and %+v is still lent", s.lent)
		}
	}
}

// With the default budget an app that is alone has enough for full speed: less than this, and every
// linger ends in a wait (G2).
func TestAnAppAloneIsNotBoundByItsCredit(t *testing.T) {
	cfg := Config{MaxBytes: 64 << 20}.WithDefaults()
	s := newTable(&cfg, nil)
	if c := s.grant(); c.bytes < 4<<20 || c.records < 16_000 {
		t.Errorf("the first credit is %+v", c)
	}
}

// The session that a stream joins has the credit that was granted, also when it replaces another,
// and leaving gives it back.
func TestJoiningGrantsCredit(t *testing.T) {
	s := idle(t)
	a, err := s.apps.Get("app", "")
	if err != nil {
		t.Fatal(err)
	}
	var last *session
	for range 3 {
		if last, err = s.service.join(newStream(helloStream{}), &sidecarpb.Hello{SessionId: "s"}, a); err != nil {
			t.Fatal(err)
		}
		if floor := s.cfg.floor(); last.credit.records <= floor.records || last.credit.bytes <= floor.bytes {
			t.Errorf("the session has a credit of %+v, the floor is %+v", last.credit, floor)
		}
	}
	s.testLeave(last)
	if s.sessions.lent != (credit{}) {
		t.Errorf("nobody is left, and %+v is lent", s.sessions.lent)
	}
}

// testLeave ends a session as its clean end does.
func (s *Server) testLeave(sess *session) { s.sessions.close(sess, errStreamDone) }
