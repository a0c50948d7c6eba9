package consumer

// inHand is what was handed out of a partition and is not all done.
type inHand struct {
	runs    []*run // in fetch order; nil where done out of order
	bytes   int64
	records int
}

func (h *inHand) add(r *run) {
	h.runs = append(h.runs, r)
	h.bytes += r.bytes
	h.records += len(r.Messages)
}

func (h *inHand) remove(r *run) {
	h.bytes -= r.bytes
	h.records -= len(r.Messages)
	for i := range h.runs {
		if h.runs[i] == r {
			h.runs[i] = nil
			break
		}
	}
	n := 0
	for n < len(h.runs) && h.runs[n] == nil {
		n++
	}
	h.runs = h.runs[n:]
}
