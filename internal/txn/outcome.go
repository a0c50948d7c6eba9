package txn

import (
	"context"
	"errors"
	"time"
)

// outcome is what the end of a window was found to be.
type outcome struct {
	flushed   time.Time // when its records were written
	why       error     // it cannot be committed, or nobody knows whether it is
	strangers []int     // places of units whose inputs were not open
	tooLarge  *Claim    // whose done-set did not fit
	refused   []*refusal
	told      ending // by the coordinator
	stuck     bool   // the id is held by the markers of the transaction before
	unknown   bool   // at first
}

var errLate = errors.New("txn: not all of it was written in time")

// reason is why a window is aborted: a unit's fault, what the window was found to be, or what was
// said. With a fault, what is said of the others (that they were given up) comes of that.
func (w *window) reason(fault error) error {
	switch {
	case fault != nil:
		return fault
	case len(w.strangers) > 0:
		return ErrNotOpen
	case w.tooLarge != nil:
		return ErrSetTooLarge
	case w.why != nil && !errors.Is(w.why, context.Canceled):
		return w.why
	case w.hasAbandoned():
		return errGivenUp
	}
	return errLate
}

// isFenced tells that somebody else may have the id: that is found out before anything else.
func (w *window) isFenced() bool {
	for _, r := range w.refused {
		if r.blame == ofFence {
			return true
		}
	}
	_, other := w.blamed()
	return other != nil && blameRecord(other) == ofFence || w.why != nil && isFence(w.why)
}
