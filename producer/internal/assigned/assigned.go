// Package assigned knows which assignments of partitions are live.
package assigned

import (
	"cmp"
	"slices"
)

// Table is the live assignments A of a process by their epochs, and the memberships M that they are
// held under. Epochs only increase, so one number remembers all that were ever announced: what is
// not above it and not live was released. The zero value is empty. It has no lock of its own: its
// owner's lock guards it.
type Table[M, A any] struct {
	live    map[uint64]held[A]
	members map[Member]M // the latest membership of each consumer
	highest uint64       // the largest epoch ever announced
}

// Member names one consumer's place in a group. Two of a process may be members of one group, and a
// consumer gets another member id now and then.
type Member struct {
	Group    string
	Consumer uint64
}

// held is a live assignment and the consumer that it belongs to.
type held[A any] struct {
	assignment A
	of         Member
}

// Assign takes the latest membership of a consumer, or that it has left its group, and the
// assignments added, of which epoch tells the number. It returns those of them that are new: each
// is announced once.
func (t *Table[M, A]) Assign(of Member, m M, left bool, added []A, epoch func(A) uint64) (fresh []A) {
	if t.live == nil {
		t.live, t.members = map[uint64]held[A]{}, map[Member]M{}
	}
	if t.members[of] = m; left && len(added) == 0 {
		delete(t.members, of)
	}
	for _, a := range added {
		n := epoch(a)
		if _, known := t.live[n]; known || n == 0 {
			continue
		}
		t.live[n] = held[A]{a, of}
		t.highest = max(t.highest, n)
		fresh = append(fresh, a)
	}
	return fresh
}

// Release removes the epochs and returns those of them that were live.
func (t *Table[M, A]) Release(list []uint64) []uint64 {
	var gone []uint64
	for _, epoch := range list {
		if _, ok := t.live[epoch]; ok {
			delete(t.live, epoch)
			gone = append(gone, epoch)
		}
	}
	return gone
}

// Any tells whether an assignment is live.
func (t *Table[M, A]) Any() bool { return len(t.live) > 0 }

// WasReleased tells whether the epoch was announced and released. Zero, a unit without an input,
// never is.
func (t *Table[M, A]) WasReleased(epoch uint64) bool {
	if epoch == 0 || epoch > t.highest {
		return false
	}
	_, ok := t.live[epoch]
	return !ok
}

// IsLive tells whether units of the epoch may be sent: those of an epoch that was announced and not
// released, and of none.
func (t *Table[M, A]) IsLive(epoch uint64) bool {
	if epoch == 0 {
		return true
	}
	_, ok := t.live[epoch]
	return ok
}

// Membership is the latest of a consumer.
func (t *Table[M, A]) Membership(of Member) (M, bool) {
	m, known := t.members[of]
	return m, known
}

// ReleaseAll releases everything and forgets the memberships.
func (t *Table[M, A]) ReleaseAll() {
	clear(t.live)
	clear(t.members)
}

// Each calls fn once per consumer with its latest membership and its live assignments in the order
// of their epochs.
func (t *Table[M, A]) Each(fn func(M, []A)) {
	type numbered struct {
		epoch uint64
		a     A
	}
	lists := make(map[Member][]numbered, len(t.members))
	for epoch, h := range t.live {
		lists[h.of] = append(lists[h.of], numbered{epoch, h.assignment})
	}
	for of, m := range t.members {
		slices.SortFunc(lists[of], func(a, b numbered) int { return cmp.Compare(a.epoch, b.epoch) })
		live := make([]A, 0, len(lists[of]))
		for _, n := range lists[of] {
			live = append(live, n.a)
		}
		fn(m, live)
	}
}
