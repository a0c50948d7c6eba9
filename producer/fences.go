package producer

import (
	"fmt"
	"slices"
	"sync"
)

// MemberFencedError is the cause of an error with [CodeMemberFenced] that [Fencer] tells: which
// consumer its group does not know any more. Other consumers of the producer have lost nothing.
type MemberFencedError struct {
	Group    string
	Consumer uint64 // as in Membership
	MemberID string
}

// Error implements error.
func (e *MemberFencedError) Error() string {
	return fmt.Sprintf("group %q does not know member %q any more", e.Group, e.MemberID)
}

// fences are the functions that are told of a fence.
type fences struct {
	mu  sync.Mutex
	fns []*func(*Error)
}

// add registers a function until forget is called.
func (f *fences) add(fn func(*Error)) (forget func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fns = append(f.fns, &fn)
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.fns = slices.DeleteFunc(f.fns, func(other *func(*Error)) bool { return other == &fn })
	}
}

func (f *fences) all() []*func(*Error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.fns)
}
