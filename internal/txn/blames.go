package txn

import "errors"

// blames are whose fault it is that a window was aborted. The units of nobody's are tried again.
type blames struct {
	units   map[int]error    // by their places in the window
	refused map[*Claim]error // their offsets cannot be committed
	gone    map[*Claim]error // the group does not know their member
	stale   map[*Claim]int32 // the generation that was refused
}

// newBlames begins with the units that failed by themselves, and with what the window's closing
// found.
func newBlames(units map[int]error, found *outcome) *blames {
	b := &blames{units: units, refused: map[*Claim]error{}, gone: map[*Claim]error{}, stale: map[*Claim]int32{}}
	for _, place := range found.strangers {
		b.units[place] = ErrNotOpen
	}
	for _, r := range found.refused {
		b.note(r)
	}
	if st := found.tooLarge; st != nil {
		b.refused[st] = offsetError(st, ErrSetTooLarge)
	}
	return b
}

func (b *blames) note(r *refusal) {
	for _, st := range r.claims {
		switch {
		case r.blame == ofStale:
			b.stale[st] = r.member.Generation
		case r.isOfMember():
			b.gone[st] = &MemberError{r.member.MemberID, r.err}
		case r.blame == ofUnit:
			b.refused[st] = offsetError(st, r.of(st))
		}
	}
}

// of is what becomes of a unit, and why it fails if it does.
func (b *blames) of(place int, st *Claim) (fate, error) {
	if err := b.units[place]; err != nil {
		return fails, err
	}
	if st == nil {
		return goesIn, nil
	}
	if err := b.refused[st]; err != nil {
		return fails, err
	}
	if err := b.gone[st]; err != nil {
		return fails, err
	}
	generation, isStale := b.stale[st]
	switch {
	case st.isAbandoned():
		return isOver, nil
	case isStale:
		return st.staleFate(generation), nil
	}
	return goesIn, nil
}

// isOfMember tells that the group does not know a member, whose units were not given up already.
func (r *refusal) isOfMember() bool { return r.blame == ofMember && !errors.Is(r.err, errGivenUp) }

// staleFate is what becomes of a unit whose claim's generation was refused. One that is held waits
// for a newer one. One that is released has its last: if that is the refused one, what comes behind
// is given up with it, since it must not be committed without what is before it.
func (st *Claim) staleFate(refused int32) fate {
	st.of.mu.Lock()
	defer st.of.mu.Unlock()
	switch {
	case st.state == held:
		return waits
	case st.state == released && st.under.Generation != refused:
		return goesIn
	case st.state == released:
		st.abandon()
	}
	return isOver
}
