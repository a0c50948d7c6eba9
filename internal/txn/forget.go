package txn

// Ending is a Batch whose sender can be gone before its units are decided.
type Ending interface {
	Batch
	// Over tells that nobody hears any more what becomes of its units.
	Over() bool
}

// Forget drops, of what the lane has not begun with, the units whose claims were given up, and
// those without an input whose sender is gone. A lane that cannot go on, because brokers are away,
// would keep them otherwise, and with them the memory that others need. It does not block.
func (l *Lane) Forget() {
	select {
	case l.forgets <- struct{}{}:
	default:
	}
	l.Wake()
}

// forgetting does what Forget asks for. It is not the lane's goroutine, which may be waiting for a
// broker, and not that of who calls Forget, whose locks the batches may need.
func (l *Lane) forgetting() {
	for {
		select {
		case <-l.forgets:
		case <-l.ctx.Done():
			return
		}
		for _, r := range l.takeDead() {
			r.Batch.Dropped(r.From, r.To)
			l.eachClaim([]Run{r}, func(st *Claim, n int) { st.decided(n) })
		}
	}
}

// takeDead takes out of what was pushed the units that nobody wants.
func (l *Lane) takeDead() (dead []Run) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var left []Run
	for _, r := range l.pushed {
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
	clear(l.pushed)
	l.pushed = append(l.pushed[:0], left...)
	return dead
}
