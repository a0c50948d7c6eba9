package pipeline

import (
	"cmp"
	"slices"
	"time"
)

// flush delivers what is finished. The lane calls it, and the pacer for a lane whose handler runs.
func (l *lane) flush() {
	l.delivering <- struct{}{}
	defer func() { <-l.delivering }()
	l.redeliver()
	l.mu.Lock()
	f := l.flight
	l.flight = nil
	l.mu.Unlock()
	if f != nil {
		f.deliver()
	}
}

// takeBack is called by Reporters: the unit failed, and may succeed later without any change (a
// sidecar that stops, a request that timed out). It must be delivered again before anything else of
// its lane, or a later input of its key would overtake it (S7). The pacer sees to it, since the
// lane may be idle or in a handler.
func (l *lane) takeBack(f failure) {
	l.mu.Lock()
	l.again = append(l.again, f)
	l.mu.Unlock()
	l.p.pacer.poke()
}

// redeliver sends what failed again, in fetch order, after a pause. There is no last try: the input
// is neither done nor bad, and halting its partition would strand it after the fault has healed
// (S10). delivering is held: what the lane finishes meanwhile waits behind.
func (l *lane) redeliver() {
	l.mu.Lock()
	list := l.again
	l.again = nil
	l.mu.Unlock()
	if len(list) == 0 {
		return
	}
	slices.SortFunc(list, func(a, b failure) int {
		return cmp.Or(cmp.Compare(a.assignment.Epoch, b.assignment.Epoch), cmp.Compare(a.m.Index(), b.m.Index()))
	})
	tries := 0
	for i := range list {
		list[i].tries++
		tries = max(tries, list[i].tries)
	}
	l.p.redelivering(list[0])
	sleep(list[0].assignment.Context(), l.p.redeliveryPause(tries))
	for len(list) > 0 {
		a := list[0].assignment
		f := newFlight(l.p, l, a)
		for len(list) > 0 && list[0].assignment == a && len(f.units) < flightSize {
			f.addAgain(list[0])
			list = list[1:]
		}
		f.deliver() // drops them when the partition has left
	}
}

// maxRedeliveryPause keeps a lane responsive: a sidecar or broker that is back should not be waited
// for much longer.
const maxRedeliveryPause = 2 * time.Second

func (p *Pipeline) redeliveryPause(tries int) time.Duration {
	return min(p.cfg.Backoff.Initial<<min(tries-1, 10), p.cfg.Backoff.Max, maxRedeliveryPause)
}
