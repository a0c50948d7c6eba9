package producer_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// book is a stay as its owner knows it: an input is done when its report was told, which may take a
// while.
type book struct {
	slow time.Duration
	mu   sync.Mutex
	done map[int]bool
}

// Acked implements producer.Reporter.
func (b *book) Acked(first, n int) {
	time.Sleep(b.slow)
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range n {
		b.done[first+i] = true
	}
}

// Failed implements producer.Reporter.
func (b *book) Failed(int, *producer.Error) {}

// progress is that of a stay that began at offset 100, with a done-set that says nothing but where
// it was asked.
func (b *book) progress() producer.Progress {
	b.mu.Lock()
	defer b.mu.Unlock()
	mark := 0
	for b.done[mark] {
		mark++
	}
	at := producer.Progress{Index: uint64(mark), Offset: 100 + int64(mark), DoneSet: fmt.Sprintf("am1.%d", mark)}
	for i := range 100 {
		if i > mark && b.done[i] {
			at.Done = append(at.Done, producer.DoneRun{Index: uint64(i), Offset: 100 + int64(i), Count: 1})
		}
	}
	return at
}

func partitionsOf(s *session) (list []*sidecarpb.AssignedPartition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.assigns {
		list = append(list, a.GetPartitions()...)
	}
	return list
}

// A sidecar that did not see a stay's beginning is told where the stay is: each input is either in
// that or is sent, never in neither, however slow the owner books what was reported on the stream
// before.
func TestClientProgressOfAStay(t *testing.T) {
	for name, slow := range map[string]time.Duration{"prompt": 0, "slow to book": 200 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			resuming(t, func(x *script) {
				x.units = func(s *session, u *sidecarpb.Units) error {
					if x.session(0) != s {
						s.writeAndAck(u)
						return nil
					}
					if s.next == 11 { // everything is here; 0 to 3, 6 and 8 are done, and it dies
						s.acked(1, 4)
						s.acked(7, 1)
						s.acked(9, 1)
						x.die()
						s.closing <- errCut
					}
					return nil
				}
			}, func(t *testing.T, x *script, p producer.Producer) {
				b := &book{slow: slow, done: map[int]bool{}}
				m := producer.Membership{Group: "g", MemberID: "m"}
				if err := p.Assign(t.Context(), m, []producer.Assignment{{Epoch: 1, Topic: "in", Start: 100, Progress: b.progress}, {Epoch: 2, Start: 7, DoneSet: "am1.x"}}); err != nil {
					t.Fatal(err)
				}
				units := numbered(10)
				for i := range units {
					units[i].Source = producer.Source{Epoch: 1, Index: uint64(i), Offset: 100 + int64(i)}
				}
				if err := p.Deliver(t.Context(), units, b); err != nil {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Second)
				if at := b.progress(); at.Index != 10 {
					t.Fatalf("not everything is done: %+v", at)
				}
				if first := partitionsOf(x.session(0)); len(first) != 2 || first[0].GetStartOffset() != 100 || first[0].GetStartIndex() != 0 {
					t.Errorf("the sidecar that saw the beginning was told %v", first)
				}
				second := partitionsOf(x.session(1))
				if len(second) != 2 {
					t.Fatalf("the new sidecar was told %v", second)
				}
				at := second[0]
				if at.GetStartOffset() != 104 || at.GetStartIndex() != 4 || at.GetDoneSet() != "am1.4" || len(at.GetDone()) != 2 {
					t.Errorf("the new sidecar was told %v", at)
				}
				if other := second[1]; other.GetStartOffset() != 7 || other.GetStartIndex() != 0 || other.GetDoneSet() != "am1.x" {
					t.Errorf("of a stay without Progress it was told %v", other)
				}
				known := map[uint64]int{}
				for i := range at.GetStartIndex() {
					known[i]++
				}
				for _, r := range at.GetDone() {
					for k := range r.GetCount() {
						known[r.GetIndex()+k]++
					}
				}
				for _, u := range x.session(1).got {
					known[u.GetSource().GetIndex()]++
				}
				for i := range uint64(10) {
					if known[i] != 1 {
						t.Errorf("input %d came to the new sidecar %d times", i, known[i])
					}
				}
			})
		})
	}
}

// After the way back from Kafka the sidecar is told of what was done without it.
func TestFallbackProgress(t *testing.T) {
	inTwoWays(t, producer.FallbackConfig{Mode: producer.Forced}, func(t *testing.T, x *twoWays, p producer.Producer) {
		b := &book{done: map[int]bool{}}
		if err := p.Assign(t.Context(), producer.Membership{Group: "g"}, []producer.Assignment{{Epoch: 1, Start: 100, Progress: b.progress}}); err != nil {
			t.Fatal(err)
		}
		units := numbered(5)
		for i := range units {
			units[i].Source = producer.Source{Epoch: 1, Index: uint64(i), Offset: 100 + int64(i)}
		}
		if err := p.Deliver(t.Context(), units, b); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the direct way's reports", func() bool { return b.progress().Index == 5 })
		set(t, p, producer.Off)
		eventually(t, "the sidecar", func() bool { return !stats(p).Active && x.session(0) != nil })
		synctest.Wait()
		if list := partitionsOf(x.session(0)); len(list) != 1 || list[0].GetStartOffset() != 105 || list[0].GetStartIndex() != 5 {
			t.Errorf("the sidecar was told %v", list)
		}
	})
}

// However many partitions there are and however much is done in them, no message is larger than the
// sidecar takes.
func TestClientAssignInPieces(t *testing.T) {
	const limit = 80 << 10
	bubble(t, func(x *script) {
		x.hello = func(*sidecarpb.Hello) (*sidecarpb.Welcome, error) {
			return &sidecarpb.Welcome{Version: 1, SidecarId: "small", MaxMessageBytes: limit, Credit: x.credit}, nil
		}
	}, func(t *testing.T, x *script, p producer.Producer) {
		var asked atomic.Int64
		var list []producer.Assignment
		for i := range 100 {
			list = append(list, producer.Assignment{Epoch: uint64(i + 1), Topic: "in", Progress: func() producer.Progress {
				asked.Add(1)
				at := producer.Progress{Offset: 10, DoneSet: strings.Repeat("x", 4096)}
				for k := range 40 * i {
					at.Done = append(at.Done, producer.DoneRun{Index: uint64(2 * k), Offset: 1<<40 + int64(2*k), Count: 1})
				}
				if i == 0 {
					for k := range 10_000 {
						at.Done = append(at.Done, producer.DoneRun{Index: 1 << 40, Offset: 1<<40 + int64(k), Count: 1 << 40})
					}
				}
				return at
			}})
		}
		if err := p.Assign(t.Context(), producer.Membership{Group: "g", MemberID: "m", Generation: 5}, list); err != nil {
			t.Fatal(err)
		}
		mustBeAcked(t, deliver(t, p, producer.Unit{Source: producer.Source{Epoch: 100}, Outputs: []producer.Record{record1("k", "0")}}))
		if got := partitionsOf(x.session(0)); len(got) != 100 || asked.Load() != 100 || len(got[1].GetDone()) != 40 || len(got[0].GetDone()) < 1000 {
			t.Fatalf("%d partitions were announced, %d asked", len(got), asked.Load())
		}
		all := x.session(0).assigns
		if len(all) < 3 {
			t.Errorf("%d messages: the test would show nothing", len(all))
		}
		for i, a := range all {
			if last := i == len(all)-1; a.GetMore() == last {
				t.Errorf("message %d of %d: more to come %t", i, len(all), a.GetMore())
			}
			if n := proto.Size(a); n > limit || a.GetGroup() != "g" || a.GetGeneration() != 5 || len(a.GetPartitions()) == 0 {
				t.Errorf("message %d: %d bytes, %d partitions of group %q", i, n, len(a.GetPartitions()), a.GetGroup())
			}
		}
		if err := p.Assign(t.Context(), producer.Membership{Group: "g", MemberID: "m", Generation: 6}, nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if all := x.session(0).assigns; all[len(all)-1].GetGeneration() != 6 || all[len(all)-1].GetMore() {
			t.Error("a membership without new partitions was not announced")
		}
	})
}
