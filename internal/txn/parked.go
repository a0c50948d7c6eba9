package txn

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/ackmark/ackmark/internal/groupcommit"
)

// parking is whose units wait together, in order.
type parking struct {
	of     *Claims
	holder Holder
}

// parked are units that cannot be committed for now: their holder's generation was refused, or
// their group's coordinator is away. What comes behind one of a holder queues there; others go on.
type parked struct {
	runs   map[parking][]Run
	stale  map[parking]*refusedHolder
	seen   map[parking]uint64 // which changes of its claims were looked at
	absent map[string]*awayGroup
}

func newParked() parked {
	return parked{runs: map[parking][]Run{}, stale: map[parking]*refusedHolder{}, seen: map[parking]uint64{}, absent: map[string]*awayGroup{}}
}

// awayGroup is a group that has not taken offsets in time.
type awayGroup struct {
	times int         // in a row
	over  atomic.Bool // it has answered since: its units go on
	told  bool        // that it is over
	since time.Time
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

	// awayAfter is how long the offsets of one group may hold up the others' window, once its
	// records are written.
	awayAfter = 500 * time.Millisecond
	// mostPatience is the same of a group that was away again and again, so that a slow one gets
	// on, too. A coordinator gives up by itself after offsets.commit.timeout.ms, 5 s by default.
	mostPatience = 5 * time.Second
	// awayRatio is how many times as long an absent group is left alone as it held up the others.
	awayRatio = 4
)

// errAway is why the offsets of a group are not waited for any more.
var errAway = errors.New("txn: the group's coordinator has not taken the offsets in time")

// patienceWith is how long the offsets of a group are waited for.
func (p *parked) patienceWith(group string) time.Duration {
	a := p.absent[group]
	if a == nil {
		return awayAfter
	}
	return min(awayAfter<<min(a.times, 8), mostPatience)
}

// lookAround calls away when a group's offsets are not taken in its time, the window's records are
// written, and others wait for nothing but that. Where everybody has to wait, trying on is best.
func (l *Lane) lookAround(ctx context.Context, group string, taken *atomic.Bool, away func()) {
	w := l.window
	for pause := l.parked.patienceWith(group); l.sleep(ctx, pause); pause = awayAfter / 10 {
		select {
		case <-w.written:
			if taken.Load() || l.othersWait(group) {
				away()
			}
		default:
		}
	}
}

// othersWait tells that units are in hand, behind the window, that are not of a group, nor of one
// that is away. While the window closes.
func (l *Lane) othersWait(group string) bool {
	other := func(r Run) bool {
		st := r.Batch.Unit(r.From).Claim
		return st == nil || st.holder.Group != group && !l.parked.isAbsent(st.holder.Group)
	}
	return l.inbox.contains(other) || slices.ContainsFunc(l.queue, other) || slices.ContainsFunc(l.again, other)
}

// isAway tells that a refusal is one group's, and nobody else's: its coordinator has not answered
// in time, or has answered what it answers others not. What is said of the transaction is not.
func (l *Lane) isAway(r *refusal, cause error) bool {
	if !l.cfg.Shared || r.blame != ofWindow || isAsk(r.err) {
		return false
	}
	ke, isKafka := errors.AsType[*kerr.Error](r.err)
	if errors.Is(cause, errAway) {
		return !isKafka || !ofTransaction[ke]
	}
	return isKafka && cause == nil && !ofTransaction[ke]
}

func (p *parked) isAbsent(group string) bool {
	a := p.absent[group]
	return a != nil && !a.told
}

// has tells whether what is next of a claim has to queue.
func (p *parked) has(st *Claim) bool {
	if p.isAbsent(st.holder.Group) {
		return true
	}
	_, waits := p.runs[parking{st.of, st.holder}]
	return waits
}

// park keeps a unit until its holder can go on. What comes behind it queues there.
func (p *parked) park(at parking, r Run) { p.runs[at] = appendRun(p.runs[at], r) }

// took notes that the offsets of a part were taken.
func (p *parked) took(done *part) {
	delete(p.absent, done.holder.Group)
	for _, st := range done.claims {
		delete(p.stale, parking{st.of, st.holder})
	}
}

// refuse notes that the generation of a holder was refused.
func (p *parked) refuse(at parking, generation int32, wake func()) {
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
	if s := p.stale[parking{st.of, st.holder}]; s != nil && s.times > 0 {
		return 0
	}
	return patience
}

// miss notes that a group has not taken its offsets, and probes its coordinator until it answers.
func (l *Lane) miss(r *refusal) {
	group := r.member.Group
	a := l.parked.absent[group]
	if a == nil {
		a = &awayGroup{}
		l.parked.absent[group] = a
	}
	if a.times > 0 && !a.told {
		return // of another holder, in the same window
	}
	pause := awayRatio * l.parked.patienceWith(group)
	if a.times == 0 {
		pause = awayAfter
	}
	a.times++
	a.told, a.since = false, time.Now()
	a.over.Store(false)
	l.cfg.Log.Warn("a group's offsets cannot be committed: its units wait, others go on", "group", group, "err", r.err)
	asked := part{holder: Holder{Group: group}}
	for _, st := range r.claims[:1] {
		asked.points = append(asked.points, groupcommit.Point{Topic: st.Topic, TopicID: st.TopicID, Partition: st.Partition})
	}
	l.running.Go(func() {
		if l.probe(asked, pause) {
			a.over.Store(true)
			l.Wake()
		}
	})
}

// probe asks a group's coordinator for offsets until it answers, whatever it says. False: the lane
// has ended.
func (l *Lane) probe(asked part, pause time.Duration) bool {
	for l.sleep(l.ctx, pause) {
		ctx, cancel := context.WithTimeout(l.ctx, 2*awayAfter)
		_, err := l.fetchOffsets(ctx, &asked)
		cancel()
		ke, isKafka := errors.AsType[*kerr.Error](err)
		if err == nil || isKafka && (!ke.Retriable || errors.Is(err, kerr.UnstableOffsetCommit)) {
			return true
		}
		pause = awayAfter
	}
	return false
}

// unpark puts what was parked in front of the queue, if its holder can go on, or it was let go.
// What was given up is dropped.
func (l *Lane) unpark() {
	for group, a := range l.parked.absent {
		if !a.told && a.over.Load() {
			a.told = true
			l.cfg.Log.Info("a group's coordinator answers again: its units go on", "group", group, "after", time.Since(a.since))
		}
	}
	for at, runs := range l.parked.runs {
		s := l.parked.stale[at]
		absent := l.parked.isAbsent(at.holder.Group)
		changes := at.of.version()
		unchanged := changes == l.parked.seen[at]
		early := s != nil && time.Now().Before(s.until) && (unchanged || !at.released(runs))
		switch {
		case absent || early:
			if l.parked.seen[at] = changes; !unchanged {
				l.parked.runs[at] = dropAbandoned(runs)
				if s != nil && s.until.IsZero() {
					s.until = time.Now() // what changed is looked at when the group answers
				}
			}
			continue
		case s == nil || s.isDue():
		case unchanged && s.until.IsZero():
			continue
		case !at.moved(runs, s.generation):
			l.parked.seen[at] = changes
			s.until = time.Time{}
			continue
		}
		delete(l.parked.runs, at)
		delete(l.parked.seen, at)
		l.again = append(runs, l.again...) // nothing older of this holder is in hand
	}
	for at := range l.parked.stale {
		if at.of.isOver() {
			delete(l.parked.stale, at)
		}
	}
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
