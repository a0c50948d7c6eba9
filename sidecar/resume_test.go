package sidecar

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/ackmark/ackmark/internal/donemeta"
	"github.com/ackmark/ackmark/internal/ledger"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// Streams break at any point and lose any of the reports that were on them: on the streams that follow, each unit is reported exactly once to a client that says
// what it has not heard, as what it was (S12).
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
				high, how, err := s.attach(newDelivery(srv, nil), peerInfo{}, &sidecarpb.Hello{Unreported: missing})
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
		if _, how, err := s.attach(newDelivery(srv, nil), peerInfo{}, &sidecarpb.Hello{Unreported: missing}); how != resumed || err != nil {
			t.Fatal(how, err)
		}
		take(true)
		if out := s.ledger.Outstanding(); uint64(len(heard)) != sent || out != (ledger.Outstanding{}) {
			t.Fatalf("%d of %d heard; left over: %+v", len(heard), sent, out)
		}
	})
}

func TestPlanWill(t *testing.T) {
	id := [16]byte{1}
	text := func(base int64, epoch int32, runs ...donemeta.Run) string {
		b, _ := donemeta.Append(nil, donemeta.Binding{TopicID: id, Base: base, LeaderEpoch: epoch}, runs)
		return string(b)
	}
	at := func(epoch uint64, mark int64, done ...donemeta.Run) stay {
		return stay{epoch: epoch, topic: "t", topicID: id, mark: mark, done: done}
	}
	seven := donemeta.Run{First: 7, Last: 7}
	many := func(n int64) (runs []donemeta.Run) { // more than fits
		for i := range n {
			runs = append(runs, donemeta.Run{First: 7 + 2*i, Last: 7 + 2*i})
		}
		return runs
	}
	for name, c := range map[string]struct {
		stays []stay
		have  *committed
		want  int64 // -1: nothing is committed
		set   string
	}{
		"first commit":              {[]stay{at(1, 5)}, &committed{offset: -1}, 5, ""},
		"further":                   {[]stay{at(1, 5, seven)}, &committed{offset: 3}, 5, text(5, -1, seven)},
		"there already":             {[]stay{at(1, 5)}, &committed{offset: 5}, -1, ""},
		"there with its set":        {[]stay{at(1, 5, seven)}, &committed{offset: 5, leaderEpoch: 4, metadata: text(5, 4, seven)}, -1, ""},
		"there with a smaller set":  {[]stay{at(1, 5, seven)}, &committed{offset: 5, leaderEpoch: 4, metadata: text(5, 4, donemeta.Run{First: 9, Last: 9})}, 5, text(5, -1, seven, donemeta.Run{First: 9, Last: 9})},
		"there with a larger set":   {[]stay{at(1, 5, seven)}, &committed{offset: 5, metadata: text(5, 0, donemeta.Run{First: 6, Last: 9})}, -1, ""},
		"there with foreign text":   {[]stay{at(1, 5, seven)}, &committed{offset: 5, metadata: "x"}, 5, text(5, -1, seven)},
		"the group is ahead":        {[]stay{at(1, 5, seven)}, &committed{offset: 8}, -1, ""},
		"ahead of the mark alone":   {[]stay{at(1, 5, seven)}, &committed{offset: 6}, 6, text(6, -1, seven)},
		"ahead up to what is done":  {[]stay{at(1, 5, seven)}, &committed{offset: 7}, 8, ""},
		"ahead, with the same set":  {[]stay{at(1, 5, seven)}, &committed{offset: 6, metadata: text(6, 0, seven)}, -1, ""},
		"further, and it knew more": {[]stay{at(1, 5)}, &committed{offset: 3, metadata: text(3, 0, donemeta.Run{First: 4, Last: 4}, seven)}, 5, text(5, -1, seven)},
		"a set too large":           {[]stay{at(1, 5, many(20_000)...)}, &committed{offset: 5, metadata: text(5, 0, many(20_000)...)}, -1, ""},
		"two stays":                 {[]stay{at(9, 5), at(2, 8)}, &committed{offset: 3}, 5, ""},
		"no such topic any more":    {[]stay{at(1, 5)}, nil, -1, ""},
	} {
		have := map[partitionKey]committed{}
		if c.have != nil {
			have[partitionKey{"t", 0}] = *c.have
		}
		plan := planWill(c.stays, have)
		switch {
		case c.want < 0 && len(plan) > 0:
			t.Errorf("%s: %+v, want nothing", name, plan)
		case c.want >= 0 && (len(plan) != 1 || plan[0].mark != c.want || plan[0].metadata != c.set):
			t.Errorf("%s: %+v, want %d with %q", name, plan, c.want, c.set)
		}
	}
}

// Brokers without topic ids have no done-sets: a will must not take what it cannot write for what is missing.
func TestPlanWillWithoutTopicID(t *testing.T) {
	have := map[partitionKey]committed{{"t", 0}: {offset: 5}}
	done := []donemeta.Run{{First: 7, Last: 7}}
	if plan := planWill([]stay{{epoch: 1, topic: "t", mark: 5, done: done}}, have); len(plan) > 0 {
		t.Errorf("%+v, want nothing: the offset is there", plan)
	}
	if plan := planWill([]stay{{epoch: 1, topic: "t", mark: 6, done: done}}, have); len(plan) != 1 || plan[0].mark != 6 || plan[0].metadata != "" {
		t.Errorf("%+v, want 6 without a set", plan)
	}
}

// What a will reads from a session it may read again: a first commit is made while the last units are on their way. What the stay inherited counts each time.
func TestTestamentsMayBeReadAgain(t *testing.T) {
	srv := idle(t)
	s := srv.testSession(t)
	defer s.end(errStreamDone)
	id := [16]byte{1}
	set, _ := donemeta.Append(nil, donemeta.Binding{TopicID: id, Base: 10, LeaderEpoch: 3}, []donemeta.Run{{First: 11, Last: 12}})
	if err := s.assign(s.stream, &sidecarpb.Assign{Group: "g", MemberId: "m", Generation: 1, Partitions: []*sidecarpb.AssignedPartition{
		{Epoch: 1, Topic: "t", TopicId: id[:], StartOffset: 10, DoneSet: string(set)}}}); err != nil {
		t.Fatal(err)
	}
	e := s.epochs[1]
	e.core.Follow(0, 10, 0) // 11 and 12 are inherited, 13 has not arrived
	e.core.Follow(2, 14, 0)
	e.core.Done(0)
	e.core.Done(2)
	for range 2 {
		all := s.testaments()
		if len(all) != 1 || len(all[0].stays) != 1 || all[0].stays[0].mark != 13 || !slices.Equal(all[0].stays[0].done, []donemeta.Run{{First: 14, Last: 14}}) {
			t.Fatalf("%+v, want 13 with 14 each time", all)
		}
	}
}

func TestTombs(t *testing.T) {
	var x tombs
	for i := range maxTombs + 2 {
		x.add(string(rune('a')) + string(rune(i+0x10000)))
		x.add("same")
	}
	if len(x.ids) != maxTombs || len(x.order) != maxTombs {
		t.Errorf("%d and %d are kept, want %d", len(x.ids), len(x.order), maxTombs)
	}
}
