package txn

import (
	"slices"
	"time"
)

// parking is whose units wait together, in order.
type parking struct {
	of     *Claims
	holder Holder
}

func parkingOf(st *Claim) parking { return parking{st.of, st.holder} }

// parked are units that cannot be committed for now: their holder's generation was refused, or
// their group's coordinator is away. What comes behind one of a holder queues there; others go on.
type parked struct {
	runs   map[parking][]Run
	stale  map[parking]*refusedHolder
	seen   map[parking]uint64 // which changes of its claims were looked at
	absent absent
}

func newParked() parked {
	return parked{runs: map[parking][]Run{}, stale: map[parking]*refusedHolder{}, seen: map[parking]uint64{}, absent: absent{}}
}

// refusedHolder is a holder whose generation was refused.
type refusedHolder struct {
	generation int32
	times      int       // in a row
	until      time.Time // it waits for this long at least
	again      time.Time // when the same generation is tried again; zero: never
}

const (
	// stalePause is how long a holder waits at least whose generation was refused twice in a row,
	// and doubles with each time more: each costs everybody a window.
	stalePause = 100 * time.Millisecond
	// mostStalePause is the longest of them.
	mostStalePause = 5 * time.Second
	// samePause is after what the same generation is tried again, and doubles with each time more:
	// who was refused for a moment, by a coordinator that did not know better, gets no newer one.
	samePause = time.Second
	// mostSamePause is the longest of them.
	mostSamePause = 10 * time.Second
)

// has tells whether what is next of a claim has to queue.
func (p *parked) has(st *Claim) bool {
	if p.absent.has(st.holder.Group) {
		return true
	}
	_, waits := p.runs[parkingOf(st)]
	return waits
}

// park keeps a unit until its holder can go on. What comes behind it queues there.
func (p *parked) park(at parking, r Run) { p.runs[at] = appendRun(p.runs[at], r) }

// took notes that the offsets of a part were taken.
func (p *parked) took(done *part) {
	delete(p.absent, done.holder.Group)
	for _, st := range done.claims {
		delete(p.stale, parkingOf(st))
	}
}

// refuse notes that the generation of a claim's holder was refused.
func (p *parked) refuse(st *Claim, generation int32, wake func()) {
	at := parkingOf(st)
	s := p.stale[at]
	if s == nil {
		s = &refusedHolder{}
		p.stale[at] = s
	}
	if _, again := p.runs[at]; again && s.generation == generation {
		return // more of its units, in the same window
	}
	s.generation, s.again = generation, time.Time{}
	if s.times++; s.times > 1 {
		pause := min(stalePause<<min(s.times-2, 8), mostStalePause)
		s.until = time.Now().Add(pause)
		time.AfterFunc(pause, wake)
	}
	if generation >= 0 { // no membership at all is not the coordinator's to find
		pause := min(samePause<<min(s.times-1, 8), mostSamePause)
		s.again = time.Now().Add(pause)
		time.AfterFunc(pause, wake)
	}
}

// isDue tells that the generation that was refused is to be tried again.
func (s *refusedHolder) isDue() bool { return !s.again.IsZero() && !time.Now().Before(s.again) }

// patienceOf is how long a holder's generation, when it is refused, waits for a newer one: of who
// is refused again and again, not at all.
func (p *parked) patienceOf(st *Claim) time.Duration {
	if s := p.stale[parkingOf(st)]; s != nil && s.times > 0 {
		return 0
	}
	return patience
}

// goOn takes out what can go on, by its holder, or was let go. What was given up is dropped.
func (p *parked) goOn() (on []Run) {
	for at, runs := range p.runs {
		s := p.stale[at]
		absent := p.absent.has(at.holder.Group)
		changes := at.of.version()
		unchanged := changes == p.seen[at]
		early := s != nil && time.Now().Before(s.until) && (unchanged || !at.released(runs))
		switch {
		case absent || early:
			if p.seen[at] = changes; !unchanged {
				p.runs[at] = dropAbandoned(runs)
				if s != nil && s.until.IsZero() {
					s.until = time.Now() // what changed is looked at when the group answers
				}
			}
			continue
		case s == nil || s.isDue():
		case unchanged && s.until.IsZero():
			continue
		case !at.moved(runs, s.generation):
			p.seen[at] = changes
			s.until = time.Time{}
			continue
		}
		delete(p.runs, at)
		delete(p.seen, at)
		on = append(on, runs...)
	}
	p.absent.forget(func(group string) bool {
		for at := range p.runs {
			if at.holder.Group == group {
				return true
			}
		}
		return false
	})
	for at := range p.stale {
		if at.of.holdsNothing(at.holder) {
			delete(p.stale, at)
		}
	}
	return on
}

// moved tells that the membership is another one than the one that was refused, or that a claim of
// the runs is not held any more.
func (at parking) moved(runs []Run, refused int32) bool {
	at.of.mu.Lock()
	defer at.of.mu.Unlock()
	generation := int32(-1) // of who has no membership, as in [Claim.member]
	if m := at.of.members[at.holder]; m != nil {
		generation = m.Generation
	}
	if generation != refused {
		return true
	}
	return slices.ContainsFunc(runs, func(r Run) bool {
		for i := r.From; i < r.To; i++ { // of several claims
			if r.Batch.Unit(i).Claim.state != held {
				return true
			}
		}
		return false
	})
}

// released tells that somebody waits for some of the units to be decided.
func (at parking) released(runs []Run) bool {
	at.of.mu.Lock()
	defer at.of.mu.Unlock()
	return slices.ContainsFunc(runs, func(r Run) bool {
		for i := r.From; i < r.To; i++ {
			if r.Batch.Unit(i).Claim.state == released {
				return true
			}
		}
		return false
	})
}

// dropAbandoned drops the units whose claims were given up, and returns the others.
func dropAbandoned(runs []Run) (left []Run) {
	for _, r := range runs {
		for i := r.From; i < r.To; i++ {
			one := Run{r.Batch, i, i + 1}
			if st := r.Batch.Unit(i).Claim; st.isAbandoned() {
				drop(one, st)
			} else {
				left = appendRun(left, one)
			}
		}
	}
	return left
}
