package pipeline

import (
	"cmp"
	"slices"
	"time"

	"github.com/ackmark/ackmark/internal/podstate"
	"github.com/ackmark/ackmark/internal/telemetry"
)

// flush delivers what is finished. The lane calls it, and the pacer for a lane whose handler runs.
func (l *lane) flush() {
	l.delivering <- struct{}{}
	defer func() { <-l.delivering }()
	for {
		l.redeliver()
		l.mu.Lock()
		if len(l.again) == 0 {
			break
		}
		l.mu.Unlock() // failed meanwhile: it comes before what was finished after it
	}
	f := l.flight
	l.flight = nil
	if f != nil {
		l.list(f)
	}
	l.mu.Unlock()
	if f != nil {
		l.p.sentinels.delivers(f)
		f.deliver()
	}
}

// takeBack is called by Reporters: the unit failed, and may succeed later without any change (a
// sidecar that stops, a request that timed out). It must be delivered again before anything else of
// its lane, or a later input of its key would overtake it (S7). The pacer sees to it, since the
// lane may be idle or in a handler.
func (l *lane) takeBack(f failure) {
	l.p.traces.note(f.m, telemetry.SpanDelivery, f.err.Code)
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
	waiting := slices.Clone(l.again)
	l.mu.Unlock()
	if len(waiting) == 0 {
		return
	}
	slices.SortFunc(waiting, inFetchOrder)
	tries := 0
	for i := range waiting {
		waiting[i].tries++
		tries = max(tries, waiting[i].tries)
	}
	l.p.redelivering(waiting[0])
	pause := l.p.redeliveryPause(tries)
	for i := range waiting[:min(len(waiting), maxNoted)] {
		l.p.troubles.note(waiting[i].m, problem{podstate.Redelivering, waiting[i].tries, "", time.Now().Add(pause)}, waiting[i].err)
	}
	sleep(waiting[0].assignment.Context(), pause)
	for _, f := range l.takeAgain() { // with what failed during the pause
		l.p.metrics.redeliver(f.assignment, len(f.units))
		f.deliver() // drops them when the partition has left
	}
}

func inFetchOrder(a, b failure) int {
	return cmp.Or(cmp.Compare(a.assignment.Epoch, b.assignment.Epoch), cmp.Compare(a.m.Index(), b.m.Index()))
}

// takeAgain makes flights of what failed. One lock: a key must not look idle in between.
func (l *lane) takeAgain() []*flight {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := l.again
	l.again = nil
	slices.SortFunc(list, inFetchOrder)
	var flown []*flight
	var f *flight
	for i := range list {
		list[i].tries++
		if f == nil || f.assignment != list[i].assignment || len(f.units) == flightSize {
			f = newFlight(l.p, l, list[i].assignment)
			l.list(f)
			flown = append(flown, f)
		}
		f.addAgain(list[i])
	}
	return flown
}

// maxNoted is how many of a lane's failures are noted in a round: the first ones, which are the
// oldest.
const maxNoted = 16

// maxRedeliveryPause keeps a lane responsive: a sidecar or broker that is back should not be waited
// for much longer.
const maxRedeliveryPause = 2 * time.Second

func (p *Pipeline) redeliveryPause(tries int) time.Duration {
	return min(p.cfg.Backoff.Initial<<min(tries-1, 10), p.cfg.Backoff.Max, maxRedeliveryPause)
}
