package assigned

import (
	"fmt"
	"math"
	"os"
	"testing"
	"time"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/internal/limit"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// A count is a peer's word: whatever it is, the work is that of what is here (F1).
func TestCountsOfAPeerAreNotLoopedOver(t *testing.T) {
	h := new(NewCommons(64<<20, 1<<18, 4)).Held()
	enter := func(p *sidecarpb.AssignedPartition) *Partition {
		within(t, p.String(), func() {
			if err := h.Enter(MemberKey{Group: "g"}, p); err != nil {
				t.Error(err)
			}
		})
		return h.Partition(p.GetEpoch())
	}
	for i, run := range []*sidecarpb.DoneRun{
		{Index: 0, Offset: 0, Count: 1 << 62},
		{Index: 1, Offset: 1, Count: 1 << 62},
		{Index: MaxSpan - 1, Offset: 1 << 40, Count: math.MaxUint64},
		{Index: math.MaxUint64, Offset: math.MaxInt64, Count: math.MaxUint64},
		{Index: 5, Offset: math.MinInt64, Count: 1 << 40},
		{Index: 5, Offset: 5},
	} {
		if e := enter(&sidecarpb.AssignedPartition{Epoch: uint64(2*i + 1), Topic: "in", Partition: int32(i), Done: []*sidecarpb.DoneRun{run}}); e.Core.Mark() != 0 {
			t.Errorf("%v: the mark is %d, and nothing below the run is known to be done", run, e.Core.Mark())
		}
		// The same again and again costs no more.
		many := make([]*sidecarpb.DoneRun, 4096)
		for k := range many {
			many[k] = run
		}
		enter(&sidecarpb.AssignedPartition{Epoch: uint64(2*i + 2), Topic: "in", Partition: int32(i), Done: many, StartIndex: math.MaxUint64 - 3})
	}
	// What an honest client says is believed.
	if e := enter(&sidecarpb.AssignedPartition{Epoch: 99, Topic: "in", StartOffset: 50, StartIndex: 7, Done: []*sidecarpb.DoneRun{{Index: 9, Offset: 52, Count: 3}}}); e.Core.Counts().DoneAbove != 3 {
		t.Errorf("%d inputs above the mark are done, want 3", e.Core.Counts().DoneAbove)
	}
}

// within fails the test if what a peer said keeps the sidecar busy for good.
func within(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		// Not t.Fatal: what is deferred would wait for the lock that the loop holds.
		fmt.Printf("--- FAIL: %s\n    %s: the sidecar hangs\n", t.Name(), what)
		os.Exit(1)
	}
}

// F5: four units with a far index took every tracker entry, and other apps' wills committed
// nothing.
func TestOneSessionLeavesTrackerEntriesToOthers(t *testing.T) {
	common := NewCommons(64<<20, 1<<18, 4)
	hog, other := common.Held(), common.Held()
	for _, h := range []*Held{&hog, &other} {
		for e := range uint64(8) {
			if err := h.Enter(MemberKey{Group: "g"}, &sidecarpb.AssignedPartition{Epoch: e + 1, Topic: "in", Partition: int32(e)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for e := range uint64(8) {
		if hog.Receive(&wire.Source{Epoch: e + 1, Index: MaxSpan - 1, Offset: MaxSpan}, 1, nil) == nil {
			t.Error("a unit with a far index is refused")
		}
	}
	for e := range uint64(8) {
		for i := range uint64(2000) {
			p := other.Receive(&wire.Source{Epoch: e + 1, Index: i, Offset: int64(i)}, 1, nil)
			if p == nil {
				t.Fatal("a unit beside it is refused")
			}
			other.Finish(p, i, true)
		}
		if mark := other.Partition(e + 1).Core.Mark(); mark != 2000 {
			t.Errorf("the mark of a session beside it is %d of 2000", mark)
		}
	}
	other.Close()
	hog.Close()
	if lent := common.Entries.Lent() + common.Kept.Lent(); lent != 0 {
		t.Errorf("%d are lent when no session is left", lent)
	}
}

// A client can claim any index and offset: the mark does not lie, and no memory is taken for a
// claim.
func TestHostileIndicesTakeNoMemory(t *testing.T) {
	h := new(NewCommons(64<<20, 1<<18, 4)).Held()
	if err := h.Enter(MemberKey{}, &sidecarpb.AssignedPartition{Epoch: 1, Topic: "in", StartOffset: 50}); err != nil {
		t.Fatal(err)
	}
	for _, index := range []uint64{1 << 63, 1 << 40, MaxSpan, 1<<64 - 1} {
		p := h.Receive(&wire.Source{Epoch: 1, Index: index, Offset: 60}, 1, nil)
		if p == nil {
			t.Fatalf("index %d is refused", index)
		}
		h.Finish(p, index, true)
	}
	p := h.Partition(1)
	if p.capacity != 0 || p.Core.Mark() != 50 {
		t.Errorf("capacity %d, mark %d", p.capacity, p.Core.Mark())
	}
	// All partitions together are bounded as well.
	h.entries = limit.NewCommons(2100, 1).Share()
	receive := func(index uint64) bool {
		h.Receive(&wire.Source{Epoch: 1, Index: index, Offset: 50 + int64(index)}, 1, nil)
		return p.Follows(index)
	}
	if !receive(500) || receive(2000) || !receive(501) {
		t.Errorf("the limit of tracked entries is not kept: capacity %d", p.capacity)
	}
}

// A Release is answered when the last unit of its assignments has ended, and only then; what was
// released takes nothing any more, and gets no units.
func TestReleaseIsAnsweredWithTheLastUnit(t *testing.T) {
	h := new(NewCommons(64<<20, 1<<18, 4)).Held()
	for e := range uint64(2) {
		if err := h.Enter(MemberKey{}, &sidecarpb.AssignedPartition{Epoch: e + 1, Topic: "in", Partition: int32(e)}); err != nil {
			t.Fatal(err)
		}
	}
	one, two := h.Receive(&wire.Source{Epoch: 1}, 1, nil), h.Receive(&wire.Source{Epoch: 2}, 1, nil)
	if now, err := h.Release(&sidecarpb.Release{RequestId: 7, Epochs: []uint64{1, 2, 2, 3}}); now || err != nil {
		t.Fatalf("answered at once: %t, %v", now, err)
	}
	if h.Receive(&wire.Source{Epoch: 1, Index: 1}, 1, one) != nil || h.Refused() != 1 {
		t.Error("a unit after the Release is taken")
	}
	if got := h.Finish(one, 0, true); got != nil {
		t.Errorf("answered %v with a unit open", got)
	}
	if got := h.Finish(two, 0, false); len(got) != 1 || got[0] != 7 {
		t.Errorf("answered %v, want 7", got)
	}
	if now, err := h.Release(&sidecarpb.Release{RequestId: 8, Epochs: []uint64{1, 2}}); !now || err != nil {
		t.Errorf("nothing is open, and it waits: %t, %v", !now, err)
	}
	if entries, kept := h.Unexplained(); entries != 0 || kept != 0 || len(h.Partitions()) != 0 {
		t.Errorf("%d entries and %d bytes are kept of nothing", entries, kept)
	}
}

// follower is a session that claims what it holds, of one that has room for so many entries.
func follower(t *testing.T, entries int64, parts ...uint64) *Held {
	t.Helper()
	c := NewCommons(64<<20, 1<<18, 1)
	c.Entries = limit.NewCommons(entries, 1)
	h := new(c.Held())
	h.Claimed(func(uint64) {})
	for _, epoch := range parts {
		if err := h.Enter(MemberKey{}, &sidecarpb.AssignedPartition{Epoch: epoch, Topic: "in", Partition: int32(epoch)}); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

func (h *Held) comes(t *testing.T, epoch, index uint64) bool {
	t.Helper()
	p := h.Receive(&wire.Source{Epoch: epoch, Index: index, Offset: int64(index)}, 1, nil)
	if p == nil {
		t.Fatalf("epoch %d is not held", epoch)
	}
	return p.Admits(index)
}

// Once there was no room for an input, none above it is taken in that assignment, however the mark
// moves meanwhile: it would overtake one of its key (S7). Those below it are.
func TestNoneOvertakesWhatWasTurnedAway(t *testing.T) {
	h := follower(t, 8*wordful, 1, 2)
	if !h.comes(t, 1, 0) || !h.comes(t, 1, wordful-1) {
		t.Fatal("no room at the beginning")
	}
	if h.comes(t, 1, 3*wordful) {
		t.Fatal("room without end")
	}
	for _, index := range []uint64{0, wordful - 1} {
		h.Finish(h.Partition(1), index, true)
	}
	for index := uint64(1); index < 3*wordful-1; index++ {
		if index != wordful-1 && !h.comes(t, 1, index) {
			t.Errorf("input %d was turned away, though it lies below", index)
		}
		h.Finish(h.Partition(1), index, true)
	}
	if mark := h.Partition(1).Core.MarkIndex(); mark != 3*wordful-1 {
		t.Fatalf("mark %d", mark)
	}
	for _, index := range []uint64{3*wordful + 1, 3 * wordful} {
		if h.comes(t, 1, index) {
			t.Errorf("input %d was taken after %d had been turned away", index, 3*wordful)
		}
	}
	if !h.comes(t, 2, 0) {
		t.Error("another partition is turned away, too")
	}
}

const wordful = 64

// One slow input lets thousands come together above it. When it is done, and nothing is on its way,
// the others get that room; and who needs it while something is gets what is not needed then.
func TestRoomThatRestsIsGivenBack(t *testing.T) {
	h := follower(t, 1<<20, 1, 2)
	fill := func(epoch, from, n uint64) {
		for index := from; index < from+n; index++ {
			if !h.comes(t, epoch, index) {
				t.Fatalf("no room for %d", index)
			}
		}
	}
	end := func(epoch, from, n uint64) {
		for index := from; index < from+n; index++ {
			h.Finish(h.Partition(epoch), index, true)
		}
	}
	fill(1, 0, 20_000)
	end(1, 1, 19_999)
	if held := h.entries.Held(); held != 2<<15 {
		t.Errorf("%d entries are held of %d inputs", held, 20_000)
	}
	end(1, 0, 1)
	if held := h.entries.Held(); held != 0 {
		t.Errorf("%d entries are held of a partition that rests", held)
	}
	fill(1, 20_000, 20_000)
	end(1, 20_000, 19_999)        // one is on its way
	for h.entries.Take(wordful) { // there is no more
	}
	fill(2, 0, 5000)
	if p := h.Partition(1); p.capacity > 2*wordful || p.Core.MarkIndex() != 39_999 {
		t.Errorf("%d entries are held of one input", p.capacity)
	}
}
