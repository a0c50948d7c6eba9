package txn

import (
	"cmp"
	"slices"

	"github.com/ackmark/ackmark/internal/donemeta"
)

// Entry is what [Claims.Enter] says of a unit.
type Entry uint8

// What an Entry can be.
const (
	Entered  Entry = iota
	Known          // the input is done and committed already: the unit may be reported as such
	Unheld         // the assignment was never announced
	Released       // it was released, or given up
	Refused        // the input is too far above the ack mark, or contradicts the order of others
)

// Enter enters a unit of an assignment: from Entered on it is waited for until the lane that it is
// pushed to has decided it.
func (s *Claims) Enter(epoch, index uint64, offset, size int64) (*Claim, Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.live[epoch]
	switch {
	case st == nil && epoch <= s.highest, st != nil && st.state != held:
		return nil, Released
	case st == nil:
		return nil, Unheld
	}
	if !st.core.Follow(index, offset, size) {
		switch known, open := st.core.Holds(index); {
		case open: // its dead letter, or it is delivered again
		case known:
			return nil, Known
		default:
			return nil, Refused
		}
	}
	if has(st.had, offset) { // its report was lost with who committed it
		st.core.Done(index)
		return nil, Known
	}
	st.open++
	return st, Entered
}

// Wants tells that Enter would enter a unit, or refuse it for its place: its claim is held, and its
// input is not committed yet. What is not wanted is not judged by where its outputs go.
func (s *Claims) Wants(epoch, index uint64, offset int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.live[epoch]
	if st == nil || st.state != held || has(st.had, offset) {
		return false
	}
	known, open := st.core.Holds(index)
	return open || !known
}

// has tells whether an offset lies in runs that are in order.
func has(runs []donemeta.Run, offset int64) bool {
	return covers(runs, donemeta.Run{First: offset, Last: offset})
}

// covers tells whether one of the runs, which are in order and apart, has all of another one.
func covers(runs []donemeta.Run, all donemeta.Run) bool {
	n, _ := slices.BinarySearchFunc(runs, all.Last, func(r donemeta.Run, o int64) int { return cmp.Compare(r.Last, o) })
	return n < len(runs) && runs[n].First <= all.First
}
