package producer_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/producer/producertest"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// resuming is bubble for a sidecar whose sessions outlive their streams.
func resuming(t *testing.T, prepare func(*script), run func(t *testing.T, x *script, p producer.Producer)) {
	t.Helper()
	bubble(t, func(x *script) {
		x.outlive()
		prepare(x)
	}, run)
}

func values(list []producer.Record) string {
	var got []string
	for _, r := range list {
		got = append(got, string(r.Value))
	}
	return strings.Join(got, " ")
}

func (x *script) sessionCount() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.sessions)
}

// resumedOnce demands that there was one session and that it went on once.
func (x *script) resumedOnce(t *testing.T) {
	t.Helper()
	x.mu.Lock()
	defer x.mu.Unlock()
	for id, l := range x.lives {
		if l.resumed != 1 || len(x.lives) != 1 {
			t.Errorf("session %s went on %d times, of %d sessions", id, l.resumed, len(x.lives))
		}
	}
}

// livingCuts cuts streams between two living ends, at any point: what was received is finished, now
// or across the cut.
type livingCuts struct{ cutter }

func (c *livingCuts) units(s *session, u *sidecarpb.Units) error {
	kind := c.fault()
	if kind == 1 { // nothing of it arrived
		s.lose(u)
		return errCut
	}
	for _, unit := range u.GetUnits() {
		s.write(unit)
	}
	n := len(u.GetUnits())
	order := c.perm(n)
	now := c.roll(n + 1) // so many reports now, the others after the cut, or before it
	for k, i := range order {
		seq := u.GetFirstSequence() + uint64(i)
		if k < now {
			s.acked(seq, 1)
		} else {
			time.AfterFunc(time.Duration(c.roll(400))*time.Millisecond, func() { s.acked(seq, 1) })
		}
	}
	switch kind {
	case 0, 2:
	case 3:
		time.AfterFunc(time.Duration(c.roll(50))*time.Millisecond, func() { s.closing <- errCut })
	default:
		return errCut
	}
	return nil
}

// Streams cut between two living ends, at any point, cost nothing: no output is lost, none is there
// twice, none is out of order, every unit is reported once, also what was finished while the stream
// was cut (S7, S12).
func TestClientResumes(t *testing.T) {
	n := uint64(30)
	if testing.Short() {
		n = 10
	}
	base := rand.Uint64() >> 1
	for i := range n {
		seed := base + i
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &livingCuts{cutter{rng: rand.New(rand.NewPCG(seed, 2)), faults: 15}}
				x := newScript(t)
				x.outlive()
				x.credit = &sidecarpb.Credit{Bytes: uint64(300 + c.roll(20_000)), Records: uint64(5 + c.roll(300))}
				x.units = c.units
				x.start()
				defer x.stop()
				cfg := x.config()
				cfg.MaxFrameBytes = 100 + c.roll(1000)
				p := cfg.New()
				next := 0
				var list []*producertest.Recorder
				for range 60 {
					units := make([]producer.Unit, c.roll(40))
					for i := range units {
						units[i].Outputs = []producer.Record{record1("k", strconv.Itoa(next))}
						next++
					}
					list = append(list, deliver(t, p, units...))
					time.Sleep(time.Duration(c.roll(60)) * time.Millisecond)
				}
				for _, r := range list {
					mustBeAcked(t, r)
				}
				if err := p.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
				for _, l := range x.lives {
					if l.resumed == 0 {
						t.Error("no stream was cut: the schedule shows nothing")
					}
				}
				for i, r := range x.records("t") {
					if string(r.Value) != strconv.Itoa(i) {
						t.Fatalf("position %d has %s", i, r.Value)
					}
				}
				if got := len(x.records("t")); got != next {
					t.Errorf("%d outputs are in the log, %d were sent", got, next)
				}
			})
		})
	}
}

// A Release that meets a broken stream waits for the stream that goes on, which is told of it
// again, and drops at once what was not sent.
func TestClientReleaseWaitsForTheResumedStream(t *testing.T) {
	resuming(t, func(x *script) {
		x.credit = &sidecarpb.Credit{Bytes: 1 << 20, Records: 2}
		x.units = func(*session, *sidecarpb.Units) error { return nil }
	}, func(t *testing.T, x *script, p producer.Producer) {
		m := producer.Membership{Group: "g"}
		if err := p.Assign(t.Context(), m, []producer.Assignment{{Epoch: 1, DoneSet: "am1.x"}, {Epoch: 2}}); err != nil {
			t.Fatal(err)
		}
		var units []producer.Unit
		for i := range 4 {
			units = append(units, producer.Unit{Source: producer.Source{Epoch: 1, Index: uint64(i)}, Outputs: []producer.Record{record1("k", strconv.Itoa(i))}})
		}
		r := deliver(t, p, units...)
		synctest.Wait()
		s := x.session(0)
		if got := s.assigns[0].GetPartitions()[0].GetDoneSet(); got != "am1.x" {
			t.Errorf("Assign says done-set %q", got)
		}
		s.closing <- errCut
		time.Sleep(time.Millisecond) // the client sees it, and has not connected again
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		released := make(chan error, 1)
		go func() { released <- p.Release(ctx, []uint64{1}) }()
		time.Sleep(time.Millisecond)
		if x.sessionCount() != 1 {
			t.Fatal("the client was back too early for this test")
		}
		if f := r.Fates(); f[0].Reported || !f[2].Reported || !f[3].Reported || f[3].Err == nil || f[3].Err.Code != producer.CodeReleased {
			t.Errorf("fates at the release: %+v, want the unsent ones dropped", f)
		}
		x.mu.Lock()
		told := make(chan uint64, 1)
		x.control = func(s *session, m *sidecarpb.DeliveryStreamRequest) error {
			if rel := m.GetRelease(); rel != nil {
				if len(rel.GetEpochs()) != 1 || rel.GetEpochs()[0] != 1 {
					t.Errorf("released %v, want 1", rel.GetEpochs())
				}
				told <- rel.GetRequestId()
			}
			if m.GetGoodbye() != nil {
				s.closing <- nil
			}
			return nil
		}
		x.mu.Unlock()
		var id uint64
		select {
		case id = <-told:
		case <-time.After(time.Minute):
			t.Fatal("the stream that goes on was not told of the release")
		}
		time.Sleep(time.Second)
		select {
		case err := <-released:
			t.Fatalf("Release returned %v before its units were finished", err)
		default:
		}
		x.session(1).acked(1, 2)
		x.session(1).released(id)
		if err := <-released; err != nil {
			t.Errorf("Release: %v", err)
		}
		if f := r.Fates(); !f[0].Reported || f[0].Err != nil || !f[1].Reported || f[1].Err != nil {
			t.Errorf("what the sidecar had finished: %+v, want acked when Release returns", f[:2])
		}
		x.resumedOnce(t)
	})
}

// The context of a Release ends its wait for a stream that does not come back, and the next stream
// is told of it all the same.
func TestClientReleaseContextEndsWithoutAStream(t *testing.T) {
	resuming(t, func(x *script) {
		x.units = func(*session, *sidecarpb.Units) error { return nil }
	}, func(t *testing.T, x *script, p producer.Producer) {
		if err := p.Assign(t.Context(), producer.Membership{Group: "g"}, []producer.Assignment{{Epoch: 1}}); err != nil {
			t.Fatal(err)
		}
		r := deliver(t, p, producer.Unit{Source: producer.Source{Epoch: 1}, Outputs: []producer.Record{record1("k", "0")}})
		synctest.Wait()
		x.stop()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		begin := time.Now()
		if err := p.Release(ctx, []uint64{1}); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) > 6*time.Second {
			t.Errorf("Release returned %v after %v, want the deadline", err, time.Since(begin))
		}
		x.start()
		time.Sleep(time.Second)
		x.session(1).acked(1, 1)
		mustBeAcked(t, r)
	})
}

// What Welcome says of the session and cannot be true is not believed: everything is sent again in
// a new session, nothing is lost (S12).
func TestClientResumeLies(t *testing.T) {
	for name, lie := range map[string]func(*sidecarpb.Welcome){
		"more than was sent":    func(w *sidecarpb.Welcome) { w.HighestSequence = 1000 },
		"less than reported":    func(w *sidecarpb.Welcome) { w.HighestSequence = 1 },
		"inside a message":      func(w *sidecarpb.Welcome) { w.HighestSequence = 7 },
		"another sidecar":       func(w *sidecarpb.Welcome) { w.SidecarId = "another" },
		"a session not asked":   nil,
		"everything, overflown": func(w *sidecarpb.Welcome) { w.HighestSequence = 1<<64 - 1 },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(x *script) {
				n := 0
				x.hello = func(h *sidecarpb.Hello) (*sidecarpb.Welcome, error) {
					n++
					w := &sidecarpb.Welcome{Version: 1, SidecarId: "one", Features: []string{"resume"}, Credit: &sidecarpb.Credit{Bytes: 1 << 20, Records: 1000}}
					switch {
					case lie == nil && n == 1:
						w.Resumed, w.HighestSequence = true, 5
					case lie != nil && n == 2:
						if h.GetPreviousSidecarId() != "one" || len(h.GetUnreported()) == 0 {
							t.Errorf("Hello of a session that goes on: %v", h)
						}
						w.Resumed, w.HighestSequence = true, 5
						lie(w)
					case n > 1 && len(h.GetFeatures())+len(h.GetUnreported()) > 0:
						t.Errorf("Hello asks to go on after a lie: %v", h)
					}
					return w, nil
				}
				x.units = func(s *session, u *sidecarpb.Units) error {
					if x.session(0) == s && lie != nil {
						if s.next == 11 { // both messages are here
							s.acked(2, 2)
							s.closing <- errCut
						}
						return nil
					}
					s.writeAndAck(u)
					return nil
				}
			}, func(t *testing.T, x *script, p producer.Producer) {
				r := deliver(t, p, numbered(5)...)
				synctest.Wait()
				more := make([]producer.Unit, 5)
				for i := range more {
					more[i].Outputs = []producer.Record{record1("k", strconv.Itoa(5+i))}
				}
				r2 := deliver(t, p, more...)
				mustBeAcked(t, r)
				mustBeAcked(t, r2)
				want := "0 3 4 5 6 7 8 9" // 1 and 2 were reported
				if lie == nil {
					want = "0 1 2 3 4 5 6 7 8 9"
				}
				if got := values(x.records("t")); got != want {
					t.Errorf("written: %s, want %s", got, want)
				}
			})
		})
	}
}

// Another sidecar gets everything that is not reported, in order; nothing is asked of it about the
// old one's session.
func TestClientNewSidecarIsAnotherSession(t *testing.T) {
	resuming(t, func(x *script) {
		x.units = func(s *session, u *sidecarpb.Units) error {
			if x.session(0) != s {
				s.writeAndAck(u)
				return nil
			}
			if s.next == 11 {
				s.acked(1, 4)
				x.die()
				s.closing <- errCut
			}
			return nil
		}
	}, func(t *testing.T, x *script, p producer.Producer) {
		mustBeAcked(t, deliver(t, p, numbered(10)...))
		if got, want := values(x.records("t")), "4 5 6 7 8 9"; got != want {
			t.Errorf("written: %s, want %s", got, want)
		}
		h := x.session(1).hello
		if h.GetPreviousSidecarId() != "script" || h.GetLastReport() != 4 || len(h.GetUnreported()) != 1 || h.GetUnreported()[0].First != 5 || h.GetUnreported()[0].Count != 6 {
			t.Errorf("Hello: %v", h)
		}
	})
}
