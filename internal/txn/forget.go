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
	signal(l.inbox.forgets)
	l.Wake()
}

// forgetting does what Forget asks for. It is not the lane's goroutine, which may be waiting for a
// broker, and not that of who calls Forget, whose locks the batches may need.
func (l *Lane) forgetting() {
	for {
		select {
		case <-l.inbox.forgets:
		case <-l.ctx.Done():
			return
		}
		for _, r := range l.inbox.takeDead() {
			r.Batch.Dropped(r.From, r.To)
			eachClaim([]Run{r}, func(st *Claim, n int) { st.decided(n) })
		}
	}
}
