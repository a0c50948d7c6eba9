package assignment

import (
	"iter"

	"math"

	"github.com/ackmark/ackmark/internal/ackmark"
	"github.com/ackmark/ackmark/internal/donemeta"
)

// Spec is what an assignment begins from.
type Spec struct {
	// TopicID is the topic's, zero if the brokers tell none: then there are no done-sets.
	TopicID [16]byte
	// Start is the offset that it begins at.
	Start int64
	// Committed is what the group has, -1 for nothing.
	Committed int64
	// Base is the index of the first input that is entered. A reader's is 0.
	Base uint64
	// Limit is how many inputs from the ack mark on are followed.
	Limit int
	// Journal keeps what is done, as it is done, for who comes after this process. Nil: nobody.
	Journal Journal
}

// Journal is where what is done outlives the process.
type Journal interface {
	// Advance: everything below the mark is done.
	Advance(mark int64)
	// Done: so are these, above the mark.
	Done(first, last int64)
}

// Assignment is one assignment of a partition. The zero value is not usable: see [New].
type Assignment struct {
	spec    Spec
	state   State
	tracker *ackmark.Tracker

	inherited    donemeta.Inherited // done before it began
	startEpoch   int32              // leader epoch that was committed with Start; -1: none
	leaderEpochs []epochStart
	read         int64 // inputs handed out
	passed       int64 // inherited inputs that were read, and not handed out
	done         int64 // inputs done

	committed int64  // -1: nothing
	set       string // the done-set that the group has
	setAt     int64  // inputs done when it was written
	noted     int64  // the mark that the journal has
}

// epochStart is the leader epoch of the records from offset on: a commit carries the epoch of the
// record before it, which is how the next holder notices a truncated log (KIP-320).
type epochStart struct {
	offset int64
	epoch  int32
}

// New begins an assignment.
func New(s Spec) *Assignment {
	return &Assignment{spec: s, tracker: ackmark.New(s.Start, s.Limit), committed: s.Committed, startEpoch: -1, noted: s.Start}
}

// State is what may still happen to it.
func (a *Assignment) State() State { return a.state }

// Happen takes an event, and tells whether it changed the state.
func (a *Assignment) Happen(e Event) bool {
	before := a.state
	a.state = transitions[before][e]
	return a.state != before
}

// Inherit takes over what was done before, as [donemeta.Parse] returned it: these inputs are not
// handed out, and no commit forgets them. set is the metadata that said so, and leaderEpoch what
// was committed with Start.
func (a *Assignment) Inherit(runs []donemeta.Run, set string, leaderEpoch int32) {
	a.startEpoch = leaderEpoch
	if len(runs) > 0 {
		a.inherited, a.set = donemeta.Inherit(runs), set
	}
}

// Inherits tells whether anything of what was inherited may still come.
func (a *Assignment) Inherits() bool { return a.inherited.Len() > 0 }

// WasDone tells that an input was done before this assignment. Offsets are asked for in the order
// of reading.
func (a *Assignment) WasDone(offset int64) bool { return a.inherited.Contains(offset) }

// LeaderEpoch is that of the last record read, -1 before the first.
func (a *Assignment) LeaderEpoch() int32 {
	if n := len(a.leaderEpochs); n > 0 {
		return a.leaderEpochs[n-1].epoch
	}
	return -1
}

// EnterEpoch notes that records from an offset on have another leader epoch.
func (a *Assignment) EnterEpoch(offset int64, epoch int32) {
	a.leaderEpochs = append(a.leaderEpochs, epochStart{offset, epoch})
}

// Read enters the next input, and returns its index. False: there is no room for it.
func (a *Assignment) Read(offset, size int64) (index uint64, ok bool) {
	if index, ok = a.tracker.Add(offset, int(size)); ok {
		a.read++
	}
	return index, ok
}

// Pass goes over a record that is no input for this assignment: a control record, or one that was
// done before it.
func (a *Assignment) Pass(offset int64, wasDone bool) {
	a.tracker.Skip(offset + 1)
	if wasDone {
		a.passed++
	}
}

// Follow enters an input that somebody else reads, whenever it is heard of. False: it was entered
// before, lies below the ack mark or too far above it, or contradicts the order of the others.
func (a *Assignment) Follow(index uint64, offset, size int64) bool {
	return index >= a.spec.Base && a.tracker.Put(index-a.spec.Base, offset, int(size))
}

// Done ends an input. The first call for it wins.
func (a *Assignment) Done(index uint64) bool {
	if a.state.Over() || index < a.spec.Base || !a.tracker.Done(index-a.spec.Base) {
		return false
	}
	a.done++
	a.note(index, 1)
	return true
}

// DoneRange ends n inputs from an index on, and tells how many of them this call ended.
func (a *Assignment) DoneRange(index uint64, n int) int {
	if a.state.Over() || index < a.spec.Base {
		return 0
	}
	ended := a.tracker.DoneRange(index-a.spec.Base, n)
	a.done += int64(ended)
	a.note(index, n)
	return ended
}

// KeepIn has a journal keep what is done so far, and from now on.
func (a *Assignment) KeepIn(j Journal) {
	a.spec.Journal, a.noted = j, a.tracker.Mark()
	j.Advance(a.noted)
	for first, last := range a.tracker.DoneSet() {
		j.Done(first, last)
	}
}

// note tells the journal of inputs that may have ended.
func (a *Assignment) note(index uint64, n int) {
	if a.spec.Journal == nil {
		return
	}
	if mark := a.tracker.Mark(); mark > a.noted {
		a.noted = mark
		a.spec.Journal.Advance(mark)
	}
	index -= a.spec.Base
	for end, more := index+uint64(n), true; more; {
		var first, last int64
		if first, last, index, more = a.tracker.DoneRun(index, end); more {
			a.spec.Journal.Done(first, last)
		}
	}
}

// Advance takes the word of who reads the inputs that all below an index are done, and that the
// next one has this offset or a higher one: for a follower to which some of them never came. False:
// nothing has changed, see [ackmark.Tracker.Advance].
func (a *Assignment) Advance(index uint64, offset int64) bool {
	if a.state.Over() || index < a.spec.Base || !a.tracker.Advance(index-a.spec.Base, offset) {
		return false
	}
	a.note(index, 0)
	return true
}

// Next is the offset to read next.
func (a *Assignment) Next() int64 { return a.tracker.Next() }

// Mark is the ack mark: the first offset that is not done.
func (a *Assignment) Mark() int64 { return a.tracker.Mark() }

// MarkIndex is the index of the first input that is not done.
func (a *Assignment) MarkIndex() uint64 { return a.spec.Base + a.tracker.MarkIndex() }

// Room is for how many inputs from the ack mark upwards memory is held.
func (a *Assignment) Room() int { return a.tracker.Room() }

// Fit gives back the memory that is not needed now.
func (a *Assignment) Fit() { a.tracker.Fit() }

// Oldest is the first input that is not done; false if there is none.
func (a *Assignment) Oldest() (offset int64, index uint64, ok bool) {
	offset, index, ok = a.tracker.Oldest()
	return offset, a.spec.Base + index, ok
}

// DoneRuns yields what was done in this assignment above the mark, as runs of offsets, in order.
func (a *Assignment) DoneRuns() iter.Seq2[int64, int64] { return a.tracker.DoneSet() }

// Counts are of one assignment.
type Counts struct {
	Read      int64 // inputs handed out
	Done      int64 // of them, done
	Inherited int64 // read and not handed out: done before
	Pending   int   // handed out and not done
	Bytes     int64 // their sizes
	DoneAbove int   // done, above the ack mark
	Open      int   // from the ack mark on: handed out, done or not
	Committed int64 // what the group has, -1 for nothing
}

// Counts returns them as of now.
func (a *Assignment) Counts() Counts {
	t := a.tracker
	return Counts{
		Read: a.read, Done: a.done, Inherited: a.passed, Pending: t.Pending(), Bytes: t.PendingBytes(), DoneAbove: t.DoneAbove(),
		Open: a.Open(), Committed: a.committed,
	}
}

// Open is how many inputs were handed out from the ack mark on.
func (a *Assignment) Open() int { return int(a.read - int64(a.tracker.MarkIndex())) }

// Uncommitted is how many inputs were done since the last commit that the group has.
func (a *Assignment) Uncommitted() int64 { return a.done - a.setAt }

// Pending is how many inputs were handed out and are not done.
func (a *Assignment) Pending() int { return a.tracker.Pending() }

// Begun tells that an input was handed out.
func (a *Assignment) Begun() bool { return a.read > 0 }

// A done-set has a largest size: a broker takes 4,096 characters of metadata. What it cannot say is
// repeated by whoever takes the partition over. So nothing is handed out that it could not
// describe, in whatever order the inputs end.

// Describable is an offset below which everything may be handed out at once: a done-set has room
// for any set of so few offsets.
func (a *Assignment) Describable() int64 {
	mark := a.tracker.Mark()
	if a.inherited.End()-mark > donemeta.MaxSpan || mark > math.MaxInt64-donemeta.MaxSpan {
		return mark
	}
	return mark + donemeta.MaxSpan
}

// Fits tells whether a done-set could still be written if the input at this offset were handed out
// too, after so many that come before it and are not read yet, and then all ended in the worst
// order.
//
// The worst order leaves every other one open. Each run of the set has an open input before it, so
// there are at most half as many runs as there are inputs, the inherited runs among them counted as
// one each. Those that lie beyond are runs of their own.
func (a *Assignment) Fits(offset int64, before int) bool {
	if a.tracker.Pending() == 0 && before == 0 {
		return true // it is the ack mark then, whatever follows
	}
	h := &a.inherited
	span := max(offset+1, h.End()) - a.tracker.Mark()
	return donemeta.Fits(span, (a.Open()+before+1+h.Passed())/2+h.Len()-h.Passed())
}
