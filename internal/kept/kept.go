// Package kept reads files again each time that what they say is needed, and goes by what they said
// before while they cannot be read, as in the middle of a renewal. Who uses it needs them seldom,
// for a connection: a watch would miss how some volumes replace files.
package kept

import (
	"log/slog"
	"sync"
)

// Kept remembers what was read when it last could be.
type Kept[T any] struct {
	what string
	read func() (T, error)

	mu   sync.Mutex
	log  *slog.Logger
	last T
	said string // the error that was logged: once, not for each use
	over bool   // nothing goes by it any more
}

// New reads for the first time, with a function that is called again for each use. What is a plural
// for the log: "the TLS files".
func New[T any](what string, read func() (T, error), log *slog.Logger) (*Kept[T], error) {
	first, err := read()
	if err != nil {
		return nil, err
	}
	return &Kept[T]{what: what, read: read, log: log, last: first}, nil
}

// LogTo replaces the log.
func (k *Kept[T]) LogTo(log *slog.Logger) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.log = log
}

// Current reads. While that fails, what was read before stays in force, and the log says so once.
func (k *Kept[T]) Current() T {
	k.mu.Lock()
	defer k.mu.Unlock()
	now, err := k.read()
	switch {
	case err == nil:
		if k.said != "" {
			stale.forget(k)
		}
		k.last, k.said = now, ""
	case err.Error() != k.said:
		k.said = err.Error()
		if !k.over {
			stale.note(k, func() { k.Current() })
		}
		k.log.Warn(k.what+" cannot be read: the ones before stay in force", "err", err)
	}
	return k.last
}

// Drop says that nothing goes by it any more: that it cannot be read is no matter then.
func (k *Kept[T]) Drop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.over = true
	stale.forget(k)
}
