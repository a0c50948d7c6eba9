package txn

import (
	"slices"
	"sync"
)

// inbox is what was pushed and the lane's goroutine has not taken yet. Anybody may call its
// methods.
type inbox struct {
	wakes   chan struct{} // capacity 1
	forgets chan struct{} // capacity 1

	mu    sync.Mutex
	runs  []Run
	flush bool
	over  error // the lane has ended
}

func (in *inbox) init() { in.wakes, in.forgets = make(chan struct{}, 1), make(chan struct{}, 1) }

// ring wakes the lane's goroutine.
func (in *inbox) ring() { signal(in.wakes) }

// signal is for a channel of capacity 1, whose reader does at once what was asked for again and
// again.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// push puts a run in. An error: the lane has ended, by it.
func (in *inbox) push(r Run) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.over == nil {
		in.runs = append(in.runs, r)
	}
	return in.over
}

// flushes notes that nothing waits for company.
func (in *inbox) flushes() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.flush = true
}

// take appends what was pushed to a queue, and tells whether it is to be flushed.
func (in *inbox) take(queue []Run) (longer []Run, flush bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	longer, flush = append(queue, in.runs...), in.flush
	clear(in.runs)
	in.runs, in.flush = in.runs[:0], false
	return longer, flush
}

// takeDead takes out the units that nobody wants.
func (in *inbox) takeDead() (dead []Run) {
	in.mu.Lock()
	defer in.mu.Unlock()
	var left []Run
	for _, r := range in.runs {
		m, isEnding := r.Batch.(Ending)
		over := isEnding && m.Over()
		for i := r.From; i < r.To; i++ {
			one := Run{r.Batch, i, i + 1}
			if st := r.Batch.Unit(i).Claim; st == nil && over || st != nil && st.isAbandoned() {
				dead = appendRun(dead, one)
			} else {
				left = appendRun(left, one)
			}
		}
	}
	clear(in.runs)
	in.runs = append(in.runs[:0], left...)
	return dead
}

// close refuses what is pushed from now on, and returns what was.
func (in *inbox) close(over error) []Run {
	in.mu.Lock()
	defer in.mu.Unlock()
	rest := in.runs
	in.runs, in.over = nil, over
	return rest
}

// contains tells whether there is such a run.
func (in *inbox) contains(such func(Run) bool) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return slices.ContainsFunc(in.runs, such)
}

// units counts them.
func (in *inbox) units() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return countUnits(in.runs)
}
