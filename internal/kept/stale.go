package kept

import (
	"maps"
	"slices"
	"sync"
)

// stale are the values of this process that could not be read when they were last needed.
var stale = staleOnes{again: map[any]func(){}}

type staleOnes struct {
	mu    sync.Mutex
	again map[any]func()
}

func (s *staleOnes) note(k any, again func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.again[k] = again
}

func (s *staleOnes) forget(k any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.again, k)
}

// Note counts something else as stale, such as a token that cannot be renewed, until [Forget].
// again looks whether that is so still.
func Note(what any, again func()) { stale.note(what, again) }

// Forget counts it no more.
func Forget(what any) { stale.forget(what) }

// Stale tells how many values of this process cannot be read, so that what they said before is in
// force. It reads those again that could not be: they may have been mended since anybody needed
// them.
func Stale() int {
	stale.mu.Lock()
	list := slices.Collect(maps.Values(stale.again))
	stale.mu.Unlock()
	for _, again := range list {
		again()
	}
	stale.mu.Lock()
	defer stale.mu.Unlock()
	return len(stale.again)
}
