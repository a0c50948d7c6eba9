package assigned

// missed are inputs that are not followed, since there was no room so far above their ack marks.
type missed struct {
	inputs uint64
	last   *Partition // that has one
}

// miss notes inputs from an index on that are not followed. Where a process commits itself, all
// that this costs is that its will lags: the mark stands still below the first of them until the
// process says where it stands, see [Held.TakeWord]. Until then its partition takes no more room.
func (h *Held) miss(e *Partition, index, inputs uint64) {
	if h.trackers == 1 { // else they are turned away, see Admits
		e.short = !e.Beyond(index)
		h.missed.inputs += inputs
		h.missed.last = e
	}
}

// Missed is how many inputs were not followed for want of room, and the partition of the last of
// them; nil where there are none.
func (h *Held) Missed() (inputs uint64, last *Partition) { return h.missed.inputs, h.missed.last }

// TakeWord takes a process's word of where an assignment stands: all inputs below an index are
// done, and the next one has this offset or a higher one. Where an input that is not followed holds
// the mark, it goes on from there. Otherwise the mark is what came of the units: that is known here
// first.
//
// Inputs above the index that were not followed hold the mark once more, until the process has done
// those, too, and says so.
func (h *Held) TakeWord(epoch, index uint64, offset int64) {
	e := h.partitions[epoch]
	if e == nil || e.Released() || h.trackers != 1 {
		return
	}
	e.short = false
	if e.Core.Advance(index, offset) {
		h.fit(e)
	}
}
