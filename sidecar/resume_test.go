package sidecar

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/ackmark/ackmark/internal/donemeta"
	"github.com/ackmark/ackmark/internal/ledger"
	"github.com/ackmark/ackmark/sidecar/internal/peer"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// Streams break at any point and lose any of the reports that were on them: on the streams that
// follow, each unit is reported exactly once to a client that says what it has not heard, as what
// it was (S12).
func TestResumedSessionsReportOnce(t *testing.T) {
	srv := idle(t)
	rapid.Check(t, func(t *rapid.T) {
		s := srv.testSession(t)
		defer s.end(errStreamDone)
		type place struct {
			f *frame
			i int32
		}
		var open []place
		fate := make(map[uint64]bool)  // acked?
		heard := make(map[uint64]bool) // by the client, in all streams
		sent := uint64(0)              // by the client
		failures := 0
		take := func(arrives bool) {
			for again := true; again; {
				var out outgoing
				if err := s.take(s.stream, &out); err != nil {
					t.Fatal(err)
				}
				hear := func(seq uint64, acked bool) {
					if !arrives {
						return
					}
					if heard[seq] {
						t.Fatalf("%d reported twice", seq)
					}
					if was, finished := fate[seq]; !finished || was != acked {
						t.Fatalf("%d reported as acked %v, finished %v acked %v", seq, acked, finished, was)
					}
					heard[seq] = true
				}
				for _, r := range out.Acked {
					for seq := r.First; seq < r.First+r.Count; seq++ {
						hear(seq, true)
					}
				}
				for _, f := range out.Failed {
					hear(f.GetSequence(), false)
				}
				select {
				case <-s.stream.wake:
				default:
					again = false
				}
			}
		}
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"frame", "finish", "finish", "finish", "take", "lose", "break"}).Draw(t, "step") {
			case "frame":
				n := rapid.IntRange(1, 100).Draw(t, "units")
				f := s.testFrame(sent+1, n, ledger.Cost{Bytes: 10, Records: 1})
				for i := range f.units {
					open = append(open, place{f, int32(i)})
				}
				if err := s.admit(s.stream, f); err != nil {
					t.Fatal(err)
				}
				sent = s.ledger.Received()
			case "finish":
				if len(open) == 0 {
					continue
				}
				k := rapid.IntRange(0, len(open)-1).Draw(t, "which")
				p := open[k]
				open = slices.Delete(open, k, k+1)
				acked := rapid.IntRange(0, 9).Draw(t, "fails") > 0 || failures >= ledger.MaxTold
				fate[p.f.First()+uint64(p.i)] = acked
				if !acked {
					failures++
					s.fail(&p.f.units[p.i], failure(0, "t", 1, "X", "failed"))
				}
				s.finish(p.f, p.i)
			case "take":
				take(true)
			case "lose":
				take(false)
			case "break":
				extra := rapid.Uint64Range(0, 50).Draw(t, "sent and not received")
				var missing []*sidecarpb.Range
				for seq := uint64(1); seq <= sent+extra; seq++ {
					if heard[seq] {
						continue
					}
					if n := len(missing); n > 0 && missing[n-1].First+missing[n-1].Count == seq {
						missing[n-1].Count++
					} else {
						missing = append(missing, &sidecarpb.Range{First: seq, Count: 1})
					}
				}
				if rapid.Bool().Draw(t, "seen to break") {
					s.detach(s.stream, nil)
				}
				high, how, err := s.attach(newStream(nil), peer.Info{}, &sidecarpb.Hello{Unreported: missing})
				if err != nil || how != resumed || high != sent {
					t.Fatalf("high %d, %v, %v: want it to go on from %d", high, how, err, sent)
				}
			}
		}
		for _, p := range open {
			fate[p.f.First()+uint64(p.i)] = true
			s.finish(p.f, p.i)
		}
		var missing []*sidecarpb.Range
		for seq := uint64(1); seq <= sent; seq++ {
			if !heard[seq] {
				missing = append(missing, &sidecarpb.Range{First: seq, Count: 1})
			}
		}
		if _, how, err := s.attach(newStream(nil), peer.Info{}, &sidecarpb.Hello{Unreported: missing}); how != resumed || err != nil {
			t.Fatal(how, err)
		}
		take(true)
		if out := s.ledger.Outstanding(); uint64(len(heard)) != sent || out != (ledger.Outstanding{}) {
			t.Fatalf("%d of %d heard; left over: %+v", len(heard), sent, out)
		}
	})
}

// What a will reads from a session it may read again: a first commit is made while the last units
// are on their way. What the assignment inherited counts each time.
func TestLastWillsMayBeReadAgain(t *testing.T) {
	srv := idle(t)
	s := srv.testSession(t)
	defer s.end(errStreamDone)
	id := [16]byte{1}
	set, _ := donemeta.Append(nil, donemeta.Binding{TopicID: id, Base: 10, LeaderEpoch: 3}, []donemeta.Run{{First: 11, Last: 12}})
	if err := s.testAssign(&sidecarpb.Assign{Group: "g", MemberId: "m", Generation: 1, Partitions: []*sidecarpb.AssignedPartition{
		{Epoch: 1, Topic: "t", TopicId: id[:], StartOffset: 10, DoneSet: string(set)}}}); err != nil {
		t.Fatal(err)
	}
	e := s.held.Partition(1)
	e.Core.Follow(0, 10, 0) // 11 and 12 are inherited, 13 has not arrived
	e.Core.Follow(2, 14, 0)
	e.Core.Done(0)
	e.Core.Done(2)
	for range 2 {
		all := s.lastWills(nil, nil)
		if len(all) != 1 || len(all[0].Standings) != 1 || all[0].Standings[0].Mark != 13 || !slices.Equal(all[0].Standings[0].Done, []donemeta.Run{{First: 14, Last: 14}}) {
			t.Fatalf("%+v, want 13 with 14 each time", all)
		}
	}
}

func TestClosedIDs(t *testing.T) {
	var x closedIDs
	for i := range maxClosedIDs + 2 {
		x.add(string(rune('a')) + string(rune(i+0x10000)))
		x.add("same")
	}
	if len(x.ids) != maxClosedIDs || len(x.order) != maxClosedIDs {
		t.Errorf("%d and %d are kept, want %d", len(x.ids), len(x.order), maxClosedIDs)
	}
}

// A grace that was to end, because somebody took the process for gone, is over: who comes back then
// is told that it is fenced, at once, and takes no grace of a later break with it.
func TestWhoIsHurriedIsFenced(t *testing.T) {
	s := idle(t).testSession(t)
	defer s.end(errStreamDone)
	s.detach(s.stream, nil)
	s.endGrace()
	if _, how, err := s.attach(newStream(nil), peer.Info{}, &sidecarpb.Hello{}); how != overAlready || err != nil {
		t.Fatal(how, err)
	}
}
