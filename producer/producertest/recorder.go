package producertest

import (
	"context"
	"fmt"
	"sync"

	"github.com/ackmark/ackmark/producer"
)

// Recorder is a [producer.Reporter] that remembers the fate of each unit and finds reports that
// must not be: a second one for a unit, one for a unit that is not there.
type Recorder struct {
	mu       sync.Mutex
	fates    []Fate
	reported int
	calls    int // of Acked
	wrong    error
	done     chan struct{} // closed when all are reported, or something is wrong
}

// Fate is what was reported about a unit.
type Fate struct {
	Reported bool
	Err      *producer.Error // nil: acked
}

// NewRecorder returns a recorder for a call of n units.
func NewRecorder(n int) *Recorder {
	r := &Recorder{fates: make([]Fate, n), done: make(chan struct{})}
	if n == 0 {
		close(r.done)
	}
	return r
}

// Acked implements producer.Reporter.
func (r *Recorder) Acked(first, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	if n <= 0 {
		r.fail("Acked(%d, %d): an empty range", first, n)
	}
	for i := first; i < first+n; i++ {
		r.set(i, nil)
	}
}

// Failed implements producer.Reporter.
func (r *Recorder) Failed(unit int, err *producer.Error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		r.fail("Failed(%d, nil)", unit)
		return
	}
	r.set(unit, err)
}

func (r *Recorder) set(i int, err *producer.Error) {
	switch {
	case i < 0 || i >= len(r.fates):
		r.fail("unit %d reported, the call has %d", i, len(r.fates))
	case r.fates[i].Reported:
		r.fail("unit %d reported twice: %v, then %v", i, r.fates[i].Err, err)
	default:
		r.fates[i] = Fate{true, err}
		if r.reported++; r.reported == len(r.fates) && r.wrong == nil {
			close(r.done)
		}
	}
}

func (r *Recorder) fail(format string, args ...any) {
	if r.wrong == nil {
		r.wrong = fmt.Errorf(format, args...)
		if r.reported < len(r.fates) {
			close(r.done)
		}
	}
}

// Wait waits until every unit is reported and returns what was wrong with the reports, or the
// context's cause.
func (r *Recorder) Wait(ctx context.Context) error {
	select {
	case <-r.done:
	case <-ctx.Done():
		r.mu.Lock()
		defer r.mu.Unlock()
		return fmt.Errorf("%d of %d units were reported: %w", r.reported, len(r.fates), context.Cause(ctx))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.wrong
}

// Fates returns the fate of each unit so far.
func (r *Recorder) Fates() []Fate {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Fate(nil), r.fates...)
}

// Reported returns how many units were reported, and in how many ranges those that were acked.
func (r *Recorder) Reported() (units, ranges int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reported, r.calls
}

// Wrong returns what was wrong with the reports so far.
func (r *Recorder) Wrong() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.wrong
}
