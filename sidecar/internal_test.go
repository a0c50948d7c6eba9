package sidecar

import (
	"errors"
	"log/slog"
	"runtime"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ackmark/ackmark/internal/boottime"
	"github.com/ackmark/ackmark/internal/ledger"
	"github.com/ackmark/ackmark/internal/outlet"
	"github.com/ackmark/ackmark/sidecar/internal/apps"
	"github.com/ackmark/ackmark/sidecar/internal/assigned"
	"github.com/ackmark/ackmark/sidecar/internal/gate"
	"github.com/ackmark/ackmark/sidecar/internal/limit"
	"github.com/ackmark/ackmark/sidecar/internal/peer"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

func idle(t interface {
	Fatal(...any)
	Cleanup(func())
}, changes ...func(*Config)) *Server {
	cfg := Config{Brokers: []string{"127.0.0.1:1"}, Logger: slog.New(slog.DiscardHandler), MaxSessions: 4}
	for _, change := range changes {
		change(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func (s *Server) testSession(t interface{ Fatal(...any) }) *session {
	a, err := s.apps.Get("app", "")
	if err != nil {
		t.Fatal(err)
	}
	sess := s.sessions.begin("s", a, true)
	sess.stream = newStream(nil)
	return sess
}

// testAssign assigns what a message says.
func (s *session) testAssign(a *sidecarpb.Assign) error {
	_, err := s.assign(s.stream, assigned.MembershipOf(a), a.GetPartitions())
	return err
}

// testFrame is a message of n units, which nothing but the ledger needs.
func (s *session) testFrame(first uint64, n int, each ledger.Cost) *frame {
	f := newFrame(s, nil, n)
	f.Begin(first, n)
	f.grow(n, 0)
	f.units = f.units[:n]
	for i := range f.units {
		u := &f.units[i]
		u.source, u.failure, u.of = false, nil, nil
		f.Add(each)
	}
	f.live.Store(1)
	f.holds.Store(2)
	return f
}

// A small message waits in a small frame, whatever the frames before it held: thousands of them
// wait while Kafka is slow (S9).
func TestFramesHaveRoomForWhatTheyHold(t *testing.T) {
	sess := idle(t).testSession(t)
	for range 64 {
		f := newFrame(sess, nil, 512)
		f.grow(512, 512)
		f.recycle()
	}
	for range 64 {
		f := newFrame(sess, nil, 1)
		f.grow(1, 1)
		if n := max(cap(f.units), cap(f.recs)); n > 4 {
			t.Fatalf("a frame of one unit has room for %d", n)
		}
	}
	for _, came := range []int{0, 1, 5} { // of 4,096 that were expected, after a message of so many
		f := newFrame(sess, nil, 4096)
		f.grow(1, 4096)
		f.recs = f.recs[:came]
		for i := range f.recs {
			f.recs[i].output = int32(i)
		}
		f.fit()
		if n := cap(f.recs); n > slack*max(came, 1) || len(f.recs) != came || came > 0 && f.recs[came-1].output != int32(came-1) {
			t.Errorf("a frame of %d records has %d, and room for %d", came, len(f.recs), n)
		}
	}
}

// Units end in any order, as acked or failed, in frames of any size, while the sender takes reports
// at any time: each is reported exactly once as what it was (S12), and all the credit comes back.
func TestReportsAreRangesOfWhatHappened(t *testing.T) {
	srv := idle(t)
	rapid.Check(t, func(t *rapid.T) {
		s := srv.testSession(t)
		type place struct {
			f *frame
			i int32
		}
		var open []place
		want := make(map[uint64]bool) // acked?
		got := make(map[uint64]bool)
		next := rapid.Uint64Range(1, 1<<40).Draw(t, "first")
		var out outgoing
		take := func() {
			for {
				if err := s.take(s.stream, &out); err != nil {
					t.Fatal(err)
				}
				for _, r := range out.Acked {
					for seq := r.First; seq < r.First+r.Count; seq++ {
						if _, twice := got[seq]; twice {
							t.Fatalf("%d reported twice", seq)
						}
						got[seq] = true
					}
				}
				for _, f := range out.Failed {
					if _, twice := got[f.GetSequence()]; twice {
						t.Fatalf("%d reported twice", f.GetSequence())
					}
					got[f.GetSequence()] = false
				}
				select {
				case <-s.stream.wake:
				default:
					return
				}
			}
		}
		finish := func() {
			k := rapid.IntRange(0, len(open)-1).Draw(t, "which")
			p := open[k]
			open[k] = open[len(open)-1]
			open = open[:len(open)-1]
			acked := rapid.IntRange(0, 9).Draw(t, "fails") > 0
			want[p.f.First()+uint64(p.i)] = acked
			if !acked {
				s.fail(&p.f.units[p.i], failure(0, "t", 1, "X", "failed"))
			}
			s.finish(p.f, p.i)
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"frame", "finish", "finish", "finish", "take"}).Draw(t, "step") {
			case "frame":
				n := rapid.IntRange(1, 130).Draw(t, "units")
				f := s.testFrame(next, n, ledger.Cost{Bytes: 10, Records: 1})
				for i := range f.units {
					open = append(open, place{f, int32(i)})
				}
				next += uint64(n)
				if err := s.admit(s.stream, f); err != nil {
					t.Fatal(err)
				}
			case "finish":
				if len(open) > 0 {
					finish()
				}
			case "take":
				take()
			}
		}
		for len(open) > 0 {
			finish()
		}
		take()
		if len(got) != len(want) {
			t.Fatalf("%d of %d units reported", len(got), len(want))
		}
		for seq, acked := range want {
			if got[seq] != acked {
				t.Fatalf("%d: acked %v, reported %v", seq, acked, got[seq])
			}
		}
		if out := s.ledger.Outstanding(); out != (ledger.Outstanding{}) || s.ledger.Open() != 0 {
			t.Fatalf("left over: %+v, %d open", out, s.ledger.Open())
		}
		if b, r := s.app.Outstanding.Held(); b != 0 || r != 0 {
			t.Fatalf("the app's share is not given back: %d bytes, %d records", b, r)
		}
		s.end(errStreamDone)
	})
}

// An emit that one limit refuses gives back its places in the others.
func TestRefusedEmitGivesItsPlacesBack(t *testing.T) {
	srv := idle(t)
	a, err := srv.apps.Get("app", "")
	if err != nil {
		t.Fatal(err)
	}
	top, err := srv.sink.topics.Get("out", &a.Named, apps.MaxTopics)
	if err != nil {
		t.Fatal(err)
	}
	a.Outstanding.Add(srv.cfg.AppBytes, 1) // the last limit of all is reached
	for range 10 {
		if refused := srv.service.emitter.admit(&emit{app: a, all: srv.service.all, rec: outRec{Rec: outlet.Rec{To: top.Out}, topic: top, size: 100}}, peer.Info{}, false); refused == nil {
			t.Fatal("it was taken")
		}
	}
	for name, m := range map[string]*limit.Meter{"all emits": srv.service.all, "the app's emits": a.Emits} {
		if bytes, records := m.Held(); bytes != 0 || records != 0 {
			t.Errorf("%s: %d bytes and %d records are taken", name, bytes, records)
		}
	}
}

// A record that its batch brought back is too late when its own time is over, and when that of
// another unit of its session was: the client may be sending that one another way by now, and
// nothing may overtake it (S7).
func TestNothingIsSentAgainPastALateUnit(t *testing.T) {
	srv := idle(t)
	s := srv.testSession(t)
	defer boottime.Replace(func() uint64 { return 1000 })()
	for _, c := range []struct {
		expires uint64
		want    bool
	}{{0, false}, {2000, false}, {999, true}, {2000, true}, {0, false}} {
		if got := s.lapse(gate.Expiry{At: c.expires}); got != c.want {
			t.Errorf("expires at %d: late is %t", c.expires, got)
		}
	}
}

// A drain begins while sessions do: those that are in the table are told to leave, and who comes
// when it was looked at is refused. A session that is neither would hold the drain up to its
// deadline.
func TestNoSessionBeginsUnseenByADrain(t *testing.T) {
	srv := idle(t)
	a, err := srv.apps.Get("app", "")
	if err != nil {
		t.Fatal(err)
	}
	open := func(id string) (*session, error) {
		return srv.service.open(newStream(nil), peer.Info{}, &sidecarpb.Hello{SessionId: id}, a)
	}
	before, err := open("before")
	if err != nil {
		t.Fatal(err)
	}
	srv.sessions.mu.Lock() // the drain comes to the table, and must wait
	var drain sync.WaitGroup
	drain.Go(srv.startDraining)
	for late := time.Now().Add(10 * time.Second); !srv.drain.begun.Load(); runtime.Gosched() {
		if time.Now().After(late) {
			srv.sessions.mu.Unlock()
			t.Fatal("it looks at the table before who comes can see that it has begun")
		}
	}
	srv.sessions.mu.Unlock()
	if _, err := open("after"); !errors.Is(err, errDraining) {
		t.Errorf("a session that begins after the drain: %v", err)
	}
	drain.Wait()
	before.mu.Lock()
	leaves := before.state.leaves()
	before.mu.Unlock()
	if all := srv.sessions.all(); !leaves || len(all) != 1 || all[0] != before {
		t.Errorf("the session of before leaves: %v; %d are in the table", leaves, len(all))
	}
	srv.sessions.close(before, errStreamDone)
}
