package producer

import "slices"

// epochs knows which assignment epochs are live. Epochs only increase, so one number remembers all
// that were ever announced: what is not above it and not live was released. It has no lock of its
// own: its owner's lock guards it.
type epochs struct {
	live    map[uint64]held
	members map[memberKey]Membership // the latest membership of each consumer
	highest uint64                   // the largest epoch ever announced
}

// memberKey names one consumer's place in a group. Two of a process may be members of one group,
// and a consumer gets another member id now and then.
type memberKey struct {
	group    string
	consumer uint64
}

// held is a live assignment and the consumer that it belongs to.
type held struct {
	Assignment
	of memberKey
}

// assign takes a membership and the assignments added, and returns those of them that are new: an
// epoch is announced once.
func (e *epochs) assign(m Membership, added []Assignment) (fresh []Assignment) {
	if e.live == nil {
		e.live, e.members = map[uint64]held{}, map[memberKey]Membership{}
	}
	of := memberKey{m.Group, m.Consumer}
	if e.members[of] = m; m.MemberID == "" && len(added) == 0 {
		delete(e.members, of) // it has left
	}
	for _, a := range added {
		if _, known := e.live[a.Epoch]; known || a.Epoch == 0 {
			continue
		}
		e.live[a.Epoch] = held{a, of}
		e.highest = max(e.highest, a.Epoch)
		fresh = append(fresh, a)
	}
	return fresh
}

// release removes the epochs and returns those of them that were live.
func (e *epochs) release(list []uint64) []uint64 {
	var gone []uint64
	for _, epoch := range list {
		if _, ok := e.live[epoch]; ok {
			delete(e.live, epoch)
			gone = append(gone, epoch)
		}
	}
	return gone
}

// releasedAlready tells whether the epoch was announced and released. Zero, a unit without an
// input, never is.
func (e *epochs) releasedAlready(epoch uint64) bool {
	if epoch == 0 || epoch > e.highest {
		return false
	}
	_, ok := e.live[epoch]
	return !ok
}

// forget releases everything, memberships too.
func (e *epochs) forget() {
	clear(e.live)
	clear(e.members)
}

// holds tells whether units of the epoch may be sent.
func (e *epochs) holds(epoch uint64) bool {
	if epoch == 0 {
		return true
	}
	_, ok := e.live[epoch]
	return ok
}

// each calls fn once per consumer with its latest membership and its live assignments in the order
// of their epochs.
func (e *epochs) each(fn func(Membership, []Assignment)) {
	lists := make(map[memberKey][]Assignment, len(e.members))
	for _, h := range e.live {
		lists[h.of] = append(lists[h.of], h.Assignment)
	}
	for of, m := range e.members {
		list := lists[of]
		slices.SortFunc(list, func(a, b Assignment) int { return int(int64(a.Epoch - b.Epoch)) })
		fn(m, list)
	}
}
