package outlet

import "github.com/twmb/franz-go/pkg/kgo"

// wait lets a record wait until all that was handed over before it has a place in a partition: a
// large one does not go through the usual client, and could come before them. It does not block:
// whoever hands over for several topics waits for none of them. false: there is nothing to wait
// for.
func (t *Topic) wait(r *Rec) bool {
	t.mu.Lock()
	if len(t.queue) == 0 && !t.handing && t.unplaced.Load() == 0 {
		t.mu.Unlock()
		return false
	}
	if !t.waits.Load() {
		t.waits.Store(true)
		t.outlet.repairs.Add(1) // so that Produce looks
	}
	t.queue = append(t.queue, r)
	t.outlet.waiting.Add(1)
	t.mu.Unlock()
	t.placesLook()
	return true
}

// hasPlace tells that one record more has a place, or will get none. The usual client's locks may
// be held.
func (t *Topic) hasPlace() {
	t.unplaced.Add(-1)
	t.placesLook()
}

// placesLook has the queue handed over if nothing is left to wait for.
func (t *Topic) placesLook() {
	if t.waits.Load() && t.unplaced.Load() == 0 && !t.outlet.closed.Load() {
		t.outlet.wg.Go(t.handWaiting)
	}
}

// handWaiting hands the queue over, in its order, as far as it does not have to wait again.
func (t *Topic) handWaiting() {
	o := t.outlet
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.handing {
		return
	}
	t.handing = true
	for len(t.queue) > 0 && (o.closed.Load() || t.unplaced.Load() == 0 || !t.large(t.queue[0])) {
		r := t.queue[0]
		t.queue[0] = nil
		t.queue = t.queue[1:]
		t.mu.Unlock()
		o.waiting.Add(-1)
		switch err := o.resend(r); {
		case o.closed.Load():
			r.Promise(&r.Record, kgo.ErrClientClosed)
		case err != nil:
			r.Promise(&r.Record, err)
		case !o.around(r, t.large(r)):
			o.hand(r)
		}
		t.mu.Lock()
	}
	t.handing = false
	if len(t.queue) == 0 && t.waits.Load() {
		t.queue = nil
		t.waits.Store(false)
		o.repairs.Add(-1)
	}
}
