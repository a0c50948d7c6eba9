package assignment

import (
	"sync"

	"github.com/ackmark/ackmark/internal/donemeta"
)

// Commit is what to commit of an assignment.
type Commit struct {
	Offset      int64 // the ack mark
	LeaderEpoch int32 // of the record before it; -1: not known
	Set         string
	// Cut is how many runs of what is done above did not fit into Set. It is 0, since nothing is
	// handed out that does not fit (see Fits): another number is a fault to be reported.
	Cut  int
	done int64
}

// position is the ack mark with the leader epoch of the record before it.
func (a *Assignment) position() (offset int64, epoch int32) {
	offset = a.tracker.Mark()
	n := 0
	for n+1 < len(a.leaderEpochs) && a.leaderEpochs[n+1].offset < offset {
		n++
	}
	a.leaderEpochs = a.leaderEpochs[n:]
	if len(a.leaderEpochs) > 0 && a.leaderEpochs[0].offset < offset {
		return offset, a.leaderEpochs[0].epoch
	}
	if offset == a.spec.Start {
		return offset, a.startEpoch
	}
	return offset, -1
}

// Due is what to commit now, or false: neither the mark moved, nor what is done above it. It never
// goes back (S3). Without sets only marks are committed.
func (a *Assignment) Due(sets bool) (Commit, bool) {
	offset, epoch := a.position()
	moved := offset > a.committed
	if !a.state.Commits() || !moved && (offset < a.committed || a.done == a.setAt) {
		return Commit{}, false
	}
	c := Commit{Offset: offset, LeaderEpoch: epoch, done: a.done}
	if sets {
		c.Set, c.Cut = a.doneSet(offset, epoch)
	}
	if !moved && c.Set == a.set {
		a.setAt = a.done
		return Commit{}, false
	}
	return c, true
}

// Committed notes that the group has it.
func (a *Assignment) Committed(c Commit) {
	a.committed = max(a.committed, c.Offset)
	a.set, a.setAt = c.Set, c.done
}

// scratch is where done-sets are written.
type scratch struct {
	runs []donemeta.Run
	text []byte
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// doneSet is what a commit of this mark says about the inputs above it.
func (a *Assignment) doneSet(mark int64, epoch int32) (set string, cut int) {
	a.inherited.Forget(mark)
	if a.tracker.DoneAbove() == 0 && a.inherited.Len() == 0 || a.spec.TopicID == ([16]byte{}) {
		return "", 0
	}
	s := scratches.Get().(*scratch) //nolint:forcetypeassert // of its New
	defer scratches.Put(s)
	s.runs = a.inherited.Union(a.tracker, mark, s.runs[:0])
	var kept int
	s.text, kept = donemeta.Append(s.text[:0], donemeta.Binding{TopicID: a.spec.TopicID, Base: mark, LeaderEpoch: epoch}, s.runs)
	cut = len(s.runs) - kept
	if string(s.text) == a.set {
		return a.set, cut
	}
	return string(s.text), cut
}

// FollowedMark is the ack mark of a follower, see Standing.
func (a *Assignment) FollowedMark() int64 { return a.inherited.Mark(a.tracker) }

// Standing is what an assignment leaves when its process is dead: its ack mark, and what is done
// above it. A follower's mark crosses what was inherited right at it, since the one who read those
// inputs sent no units of them.
func (a *Assignment) Standing() (mark int64, done []donemeta.Run) {
	mark = a.FollowedMark()
	return mark, a.inherited.Union(a.tracker, mark, nil)
}

// Progress is where an assignment is: what somebody must know who is to commit for this process if
// it dies. Consumer and producer have the type as it is here.
type Progress struct {
	// Index is that of the first input that is not done, and Offset the ack mark.
	Index  uint64
	Offset int64
	// LeaderEpoch is that of the record before Offset, -1 if it is not known.
	LeaderEpoch int32
	// Done are the inputs above Index that are done already, in order.
	Done []DoneRun
	// DoneSet is the metadata that a commit of Offset would have now.
	DoneSet string
}

// DoneRun is Count inputs with the indices Index, Index+1 … and the offsets Offset, Offset+1 …
type DoneRun struct {
	Index  uint64
	Offset int64
	Count  uint64
}

// Progress tells where it is now.
func (a *Assignment) Progress(sets bool) Progress {
	offset, epoch := a.position()
	at := Progress{Index: a.MarkIndex(), Offset: offset, LeaderEpoch: epoch}
	if sets {
		at.DoneSet, _ = a.doneSet(offset, epoch)
	}
	index := at.Index
	for offset, done := range a.tracker.Entries() {
		if n := len(at.Done); done && n > 0 && at.Done[n-1].Index+at.Done[n-1].Count == index && at.Done[n-1].Offset+int64(at.Done[n-1].Count) == offset {
			at.Done[n-1].Count++
		} else if done {
			at.Done = append(at.Done, DoneRun{Index: index, Offset: offset, Count: 1})
		}
		index++
	}
	return at
}
