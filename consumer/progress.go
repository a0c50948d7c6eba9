package consumer

// Progress is where a stay is: what somebody must know who is to commit for this process if it
// dies.
type Progress struct {
	// Index is that of the first input that is not done, and Offset the ack mark.
	Index  uint64
	Offset int64
	// Done are the inputs above Index that are done already, in order.
	Done []DoneRun
	// DoneSet is the metadata that a commit of Offset would have now.
	DoneSet string
}

// DoneRun is Count inputs with the indices Index, Index+1 … and the offsets Offset, Offset+1 …
type DoneRun struct {
	Index  uint64
	Offset int64
	Count  uint64
}

// Progress tells where this stay is now. See [Message.Index] for indices.
func (a *Assignment) Progress() Progress {
	p := a.part
	p.mu.Lock()
	defer p.mu.Unlock()
	at := p.core.Progress(!p.around.noDoneSets.Load())
	done := make([]DoneRun, len(at.Done))
	for i, r := range at.Done {
		done[i] = DoneRun(r)
	}
	return Progress{Index: at.Index, Offset: at.Offset, Done: done, DoneSet: at.Set}
}
