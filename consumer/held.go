package consumer

import (
	"sync"
)

// held is what this member holds: one partition for each that the group assigned to it and that was
// begun.
type held struct {
	partsMu sync.RWMutex
	parts   map[string]map[int32]*partition

	flowMu   sync.Mutex    // who pauses or resumes partitions at the client holds it
	flowKick chan struct{} // somebody has to look at the shares of memory again
}

func newHeld() *held {
	return &held{parts: map[string]map[int32]*partition{}, flowKick: make(chan struct{}, 1)}
}

// all lists the partitions that this member holds now.
func (h *held) all() []*partition {
	h.partsMu.RLock()
	defer h.partsMu.RUnlock()
	var all []*partition
	for _, ps := range h.parts {
		for _, p := range ps {
			all = append(all, p)
		}
	}
	return all
}

// count is how many all lists.
func (h *held) count() (n int) {
	h.partsMu.RLock()
	defer h.partsMu.RUnlock()
	for _, ps := range h.parts {
		n += len(ps)
	}
	return n
}

func (h *held) find(topic string, partition int32) *partition {
	h.partsMu.RLock()
	defer h.partsMu.RUnlock()
	return h.parts[topic][partition]
}

// of lists those of the named partitions that are held.
func (h *held) of(names map[string][]int32) []*partition {
	h.partsMu.RLock()
	defer h.partsMu.RUnlock()
	var parts []*partition
	for topic, ids := range names {
		for _, id := range ids {
			if p := h.parts[topic][id]; p != nil {
				parts = append(parts, p)
			}
		}
	}
	return parts
}

// add takes a partition in.
func (h *held) add(p *partition) {
	a := p.assignment
	h.partsMu.Lock()
	defer h.partsMu.Unlock()
	if h.parts[a.Topic] == nil {
		h.parts[a.Topic] = map[int32]*partition{}
	}
	h.parts[a.Topic][a.Partition] = p
}

// remove forgets partitions, unless others are held in their place.
func (h *held) remove(parts []*partition) {
	h.partsMu.Lock()
	defer h.partsMu.Unlock()
	for _, p := range parts {
		a := p.assignment
		if h.parts[a.Topic][a.Partition] == p {
			delete(h.parts[a.Topic], a.Partition)
		}
	}
}

// balance has the shares of memory looked at again, soon.
func (h *held) balance() { wake(h.flowKick) }
