package sidecar

import (
	"log/slog"
	"strconv"
	"testing"

	"github.com/ackmark/ackmark/sidecar/internal/peer"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// With the default budget an app that is alone has enough for full speed: less than this, and every
// linger ends in a wait (G2).
func TestAnAppAloneIsNotBoundByItsCredit(t *testing.T) {
	s := roomy(t)
	c := joinAs(t, s, "a", featureCredit).credit.message(0)
	if c.GetBytes() < 4<<20 || c.GetRecords() < 16_000 {
		t.Errorf("the first credit is %v", c)
	}
}

// Ten sessions have the same, though the first was alone before the second came; who goes leaves
// its part to the others.
func TestTenSessionsHaveEqualCredits(t *testing.T) {
	s := roomy(t)
	var all []*session
	for i := range 10 {
		all = append(all, joinAs(t, s, strconv.Itoa(i), featureCredit))
		answerAll(s, all)
	}
	const mean = 28_672/10 + 448 // the floors' half is for 64
	var sum int64
	for i, sess := range all {
		c := sess.credit.message(0)
		if got := int64(c.GetRecords()); got < mean*8/10 || got > mean*12/10 {
			t.Errorf("session %d of ten may have %d records outstanding, their mean is %d", i, got, mean)
		}
		sum += int64(c.GetBytes())
	}
	if sum > s.cfg.MaxBytes/8*7 {
		t.Errorf("ten sessions may have %d bytes outstanding, all may have %d", sum, s.cfg.MaxBytes/8*7)
	}
	for _, sess := range all[1:] {
		s.testLeave(sess)
	}
	if got := all[0].credit.message(0).GetRecords(); got != 21_504+448 {
		t.Errorf("one is left, and may have %d records outstanding, not three quarters of what is not in floors", got)
	}
}

// What is in a transaction stays outstanding until that ends: an app that is alone has most of
// what is not in floors, and gives it back as others come.
func TestAnAppAloneHasLongTransactions(t *testing.T) {
	s := roomy(t, func(c *Config) { c.TransactionalID = "orders-0" })
	var all []*session
	for i := range 2 {
		all = append(all, joinAs(t, s, strconv.Itoa(i), featureCredit))
		answerAll(s, all)
		if got, want := all[0].credit.message(0).GetRecords(), []uint64{86_016 + 1792, 57_344 + 1792}[i]; got != want {
			t.Errorf("beside %d others a session may have %d records outstanding, not %d", i, got, want)
		}
	}
	s.testLeave(all[1])
	if got := all[0].credit.message(0).GetRecords(); got != 86_016+1792 {
		t.Errorf("one is left, and may have %d records outstanding, not three quarters of what is not in floors", got)
	}
}

// Who rests leaves its part to those at work, and has it back when something comes.
func TestWhoRestsHasItsFloor(t *testing.T) {
	s := roomy(t)
	var all []*session
	for i := range 10 {
		all = append(all, joinAs(t, s, strconv.Itoa(i), featureCredit))
		answerAll(s, all)
	}
	for range restLooks - 1 {
		s.sessions.lookWhoRests()
	}
	if all[0].credit.resting.Load() {
		t.Error("a session rests that had nothing to say for a moment")
	}
	s.sessions.lookWhoRests()
	for _, sess := range all[:5] {
		s.sessions.wake(sess)
	}
	answerAll(s, all)
	for i, want := range map[int]uint64{0: 6_182, 9: 448} {
		if got := all[i].credit.message(0).GetRecords(); got != want {
			t.Errorf("session %d may have %d records outstanding, not %d", i, got, want)
		}
	}
}

// A client of before has no smaller credit, and is not asked.
func TestOldClientsKeepTheirCredit(t *testing.T) {
	s := roomy(t)
	old := joinAs(t, s, "old")
	had := old.credit.message(0)
	var all []*session
	for i := range 20 {
		all = append(all, joinAs(t, s, strconv.Itoa(i), featureCredit))
		answerAll(s, all)
	}
	if now := old.credit.message(0); now.GetRecords() != had.GetRecords() || len(old.cold) > 0 {
		t.Errorf("a client that takes no smaller credit had %v, and has %v", had, now)
	}
}

// A client of before that comes after a newer one has more than its floor: nobody has all that is
// divided.
func TestAnOldClientBesideANewOne(t *testing.T) {
	s := roomy(t)
	all := []*session{joinAs(t, s, "new", featureCredit)}
	old := joinAs(t, s, "old")
	answerAll(s, all)
	if now := old.credit.message(0).GetRecords(); now < 4_000 {
		t.Errorf("beside one other it may have %d records outstanding", now)
	}
}

// A client of before that came when everything was lent has more when others have left.
func TestOldClientsGrow(t *testing.T) {
	s := roomy(t)
	var all []*session
	for i := range 4 {
		all = append(all, joinAs(t, s, strconv.Itoa(i), featureCredit))
	}
	old := joinAs(t, s, "old")
	had := old.credit.message(0).GetRecords()
	for _, sess := range all {
		s.testLeave(sess)
	}
	if now := old.credit.message(0).GetRecords(); now < 8*had {
		t.Errorf("it is alone, and may have %d records outstanding, where it had %d among five", now, had)
	}
}

// What a client has not heard of may be more than its credit is by now.
func TestResumeAfterASmallerCredit(t *testing.T) {
	s := roomy(t)
	sess := joinAs(t, s, "a", featureCredit)
	had := int(sess.credit.message(0).GetRecords())
	all := []*session{sess}
	for i := range 40 {
		all = append(all, joinAs(t, s, strconv.Itoa(i), featureCredit))
		answerAll(s, all)
	}
	if now := sess.credit.bound().Records; int(now) >= had/2 {
		t.Fatalf("its credit is %d records, and was %d", now, had)
	}
	if n := sess.credit.unheard(); n < had {
		t.Errorf("it may not have heard of %d reports, of %d it may say so", had, n)
	}
}

// Credits that a client does not read replace one another.
func TestUnreadCreditsReplaceOneAnother(t *testing.T) {
	s := roomy(t)
	sess := joinAs(t, s, "a", featureCredit)
	for i := range 40 {
		other := joinAs(t, s, strconv.Itoa(i), featureCredit)
		if i%2 == 0 {
			s.testLeave(other)
		}
	}
	if n := len(sess.cold); n > 1 {
		t.Errorf("%d messages wait for a client that does not read", n)
	}
}

// The session that a stream joins has the credit that was granted, also when it replaces another,
// and leaving gives it back.
func TestJoiningGrantsCredit(t *testing.T) {
	s := roomy(t)
	var last *session
	for range 3 {
		last = joinAs(t, s, "s", featureCredit)
		if floor, c := s.cfg.floor(), last.credit.bound(); c.Records <= floor.Records || c.Bytes <= floor.Bytes {
			t.Errorf("the session has a credit of %+v, the floor is %+v", c, floor)
		}
	}
	s.testLeave(last)
	if lent := s.sessions.pool.Lent(); lent.Bytes != 0 || lent.Records != 0 {
		t.Errorf("nobody is left, and %+v is lent", lent)
	}
}

// roomy has the default limits, on a large machine.
func roomy(t *testing.T, configure ...func(*Config)) *Server {
	t.Helper()
	cfg := Config{Brokers: []string{"127.0.0.1:1"}, Logger: slog.New(slog.DiscardHandler), MaxBytes: 64 << 20}
	for _, change := range configure {
		change(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func joinAs(t *testing.T, s *Server, id string, features ...string) *session {
	t.Helper()
	a, err := s.apps.Get("app", "")
	if err != nil {
		t.Fatal(err)
	}
	d, h := newStream(helloStream{}), &sidecarpb.Hello{SessionId: id, Features: features}
	d.welcome = s.service.welcome(h)
	sess, err := s.service.open(d, peer.Info{}, h, a)
	if err != nil {
		t.Fatal(err)
	}
	return sess
}

// answerAll reads Credits and answers them as clients do, until none comes.
func answerAll(s *Server, all []*session) {
	for again := true; again; {
		again = false
		for _, sess := range all {
			sess.mu.Lock()
			cold := sess.cold
			sess.cold = nil
			sess.mu.Unlock()
			for _, m := range cold {
				again = true
				s.sessions.creditTaken(sess, m.GetCredit().GetNumber())
			}
		}
	}
}

// testLeave ends a session as its clean end does.
func (s *Server) testLeave(sess *session) { s.sessions.close(sess, errStreamDone) }
