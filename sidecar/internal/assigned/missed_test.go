package assigned

import (
	"testing"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/internal/limit"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// committer is a session whose process commits itself, with room for so many entries.
func committer(t *testing.T, entries int64, parts ...uint64) *Held {
	t.Helper()
	c := NewCommons(64<<20, 1<<18, 1)
	c.Entries = limit.NewCommons(entries, 1)
	h := new(c.Held())
	for _, epoch := range parts {
		if err := h.Enter(MemberKey{}, &sidecarpb.AssignedPartition{Epoch: epoch, Topic: "in", Partition: int32(epoch)}); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// does receives inputs, and has them done.
func (h *Held) does(t *testing.T, epoch, from, to uint64) {
	t.Helper()
	for index := from; index < to; index++ {
		p := h.Receive(&wire.Source{Epoch: epoch, Index: index, Offset: int64(index)}, 1, nil)
		if p == nil {
			t.Fatalf("epoch %d is not held", epoch)
		}
		h.Finish(p, index, true)
	}
}

func (h *Held) marks(t *testing.T, epoch uint64, want int64) {
	t.Helper()
	if mark := h.Partition(epoch).Core.Mark(); mark != want {
		t.Errorf("the mark of %d is %d, want %d", epoch, mark, want)
	}
}

// Once there was no room for an input its mark stands below it, whatever is done, until the process
// says where it stands: then it is followed again from there.
func TestWhatHadNoRoomIsFollowedAgain(t *testing.T) {
	h := committer(t, 8*wordful, 1) // half of it is for others
	slow := h.Receive(&wire.Source{Epoch: 1}, 1, nil)
	h.does(t, 1, 1, 400) // of which 256 are followed
	h.marks(t, 1, 0)
	h.TakeWord(1, 400, 400) // not while the slow one is here, and not done
	h.marks(t, 1, 0)
	h.Finish(slow, 0, true)
	h.marks(t, 1, 4*wordful)
	// Said before the others were done: they hold the mark again, and those after them do not.
	h.TakeWord(1, 300, 300)
	h.does(t, 1, 400, 500)
	h.marks(t, 1, 300)
	h.TakeWord(1, 450, 450)
	h.does(t, 1, 500, 1000)
	h.marks(t, 1, 1000)
	if n, of := h.Missed(); n != 400-4*wordful || of != slow {
		t.Errorf("%d inputs had no room, of %v", n, of)
	}
	h.TakeWord(1, 500, 500)
	h.marks(t, 1, 1000)
}

// A process's word is of its own assignments, while it holds them, and never moves a mark back.
func TestWhatAProcessSaysOfWhereItStands(t *testing.T) {
	h := committer(t, 1<<10, 1, 2)
	h.TakeWord(3, 5, 5)
	h.TakeWord(1, 5, 4)
	h.marks(t, 1, 0)
	h.TakeWord(1, 5, 50)
	h.TakeWord(1, 4, 60)
	h.marks(t, 1, 50)
	h.Receive(&wire.Source{Epoch: 2}, 1, nil)
	if now, err := h.Release(&sidecarpb.Release{Epochs: []uint64{2}}); now || err != nil {
		t.Fatal(now, err)
	}
	h.Finish(h.Partition(1), 5, false)
	f := follower(t, 1<<10, 1) // a transaction has committed what is done, and nothing else has
	f.TakeWord(1, 5, 5)
	f.marks(t, 1, 0)
}

// Whose mark stands still for want of room takes no more of it: the others would have none, too.
func TestWhoIsShortLeavesTheRestToOthers(t *testing.T) {
	h := committer(t, 8*wordful, 1, 2)
	slow := h.Receive(&wire.Source{Epoch: 2}, 1, nil)
	h.does(t, 2, 1, 4*wordful)
	h.Receive(&wire.Source{Epoch: 1}, 1, nil)
	h.Receive(&wire.Source{Epoch: 1, Index: 5 * wordful, Offset: 5 * wordful}, 1, nil) // there is no room
	h.Finish(slow, 0, true)
	for h.entries.Held() > wordful { // what rests has given its room back
		h.fit(h.Partition(2))
	}
	h.does(t, 1, 1, 8*wordful)
	if held := h.Partition(1).capacity; held != wordful {
		t.Errorf("%d entries are taken, and the mark does not move", held)
	}
	h.does(t, 2, 4*wordful, 9*wordful)
	h.marks(t, 2, 9*wordful)
}
