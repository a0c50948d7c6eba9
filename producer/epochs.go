package producer

import "slices"

// epochs knows which assignment epochs are live. Epochs only increase, so one number remembers all that were ever announced: what is not above it
// and not live was released. It has no lock of its own: its owner's lock guards it.
type epochs struct {
	live    map[uint64]held
	groups  map[string]Membership // the latest membership of each group
	highest uint64                // the largest epoch ever announced
}

// held is a live assignment and the group that it belongs to.
type held struct {
	Assignment
	group string
}

// assign takes a membership and the assignments added, and returns those of them that are new: an epoch is announced once.
func (e *epochs) assign(m Membership, added []Assignment) (fresh []Assignment) {
	if e.live == nil {
		e.live, e.groups = map[uint64]held{}, map[string]Membership{}
	}
	e.groups[m.Group] = m
	for _, a := range added {
		if _, known := e.live[a.Epoch]; known || a.Epoch == 0 {
			continue
		}
		e.live[a.Epoch] = held{a, m.Group}
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

// releasedAlready tells whether the epoch was announced and released. Zero, a unit without an input, never is.
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
	clear(e.groups)
}

// holds tells whether units of the epoch may be sent.
func (e *epochs) holds(epoch uint64) bool {
	if epoch == 0 {
		return true
	}
	_, ok := e.live[epoch]
	return ok
}

// each calls fn once per group with its latest membership and its live assignments in the order of their epochs.
func (e *epochs) each(fn func(Membership, []Assignment)) {
	byGroup := make(map[string][]Assignment, len(e.groups))
	for _, h := range e.live {
		byGroup[h.group] = append(byGroup[h.group], h.Assignment)
	}
	for group, m := range e.groups {
		list := byGroup[group]
		slices.SortFunc(list, func(a, b Assignment) int { return int(int64(a.Epoch - b.Epoch)) })
		fn(m, list)
	}
}
