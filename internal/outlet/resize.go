package outlet

import "time"

const resizeWithin = 5 * time.Second

// resize has the usual client take another size of batches, because the topic's limit is another one: batches above it would be refused and sent in pieces
// for ever, records above the old one would go alone. The client takes a size when it learns of a topic, so it has to forget the topic, with nothing of it
// on its way: all partitions are under repair until then, and what is handed over meanwhile goes through the second client. A partition that does not come to
// an end within some seconds (no leader) is waited for no longer; the next refusal tries again.
func (t *Topic) resize() {
	o := t.outlet
	if batch := t.batch.Load(); batch == 0 || batch == t.bound() || !t.loaded.Load() || !t.resizing.CompareAndSwap(false, true) {
		return
	}
	defer t.resized()
	for deadline := time.Now().Add(resizeWithin); !t.still(); time.Sleep(flushEvery) {
		if o.closed.Load() || time.Now().After(deadline) {
			return
		}
	}
	t.unlearn()
}

// unlearn has the usual client forget the topic.
func (t *Topic) unlearn() {
	t.batch.Store(0) // until the client asks
	t.loaded.Store(false)
	t.outlet.usual.PurgeTopicsFromProducing(t.name)
	t.loaded.Store(false) // a record may have been given its place between the two
}

// still begins a repair of each partition, and tells whether the usual client has nothing that it may send. While a topic is resized no repair ends, and a
// partition that is used for the first time is under repair from its beginning.
func (t *Topic) still() bool {
	t.mu.Lock()
	parts := *t.parts.Load()
	t.mu.Unlock()
	still := true
	for _, p := range parts {
		if p == nil {
			continue
		}
		p.mu.Lock()
		p.begin()
		still = still && p.entered.Load() == p.left.Load()
		p.mu.Unlock()
	}
	return still
}

// resized lets repairs end again.
func (t *Topic) resized() {
	t.resizing.Store(false)
	for _, p := range *t.parts.Load() {
		if p != nil {
			t.outlet.end(p.kick())
		}
	}
}
