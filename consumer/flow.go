package consumer

import (
	"context"
	"time"

	"github.com/ackmark/ackmark/internal/assignment"
)

// The memory budget is shared like a switch shares its buffer (Choudhury and Hahne, dynamic queue
// thresholds): half of it is divided among the partitions held and never taken from them; of the
// other half a partition may use three quarters of what the others left. So a stalled partition
// cannot starve the rest, and a single busy one gets most of the budget. In parts of the whole,
// which is 1:
//
//	share = 1/2 ÷ partitions;  extra = the sum of what others use beyond their share
//	a partition is paused at    share + 3/4 × (1/2 − extra)
//	and resumed at half of that.
//
// One that is not paused uses less than its limit, so the sum of all stays below 1 between polls;
// an eighth can come on top, see pollRoom.
const (
	sharedPart = 0.5
	freeShare  = 0.75
	overshoot  = 0.125
)

// patience is how long the poll loop waits for memory before it pauses what is above its limit. A
// pause costs what the client has buffered of the partition, which is fetched again, and its end
// costs up to FetchMaxWait: a fetch for the others may be under way, and a broker that has nothing
// new holds it. When outputs take a little longer than fetches, which is a pipeline at full speed,
// it never comes to that.
//
// It is counted in steps of a ticker, and one that is not seen in time is none: a process that gets
// no processor finishes nothing meanwhile. By the clock a busy machine ended the wait of a pipeline
// at full speed again and again, and what it had buffered was fetched and decompressed once more.
//
// The others wait too, so it is only for partitions for which it was in vain a few times at most
// lately: one that is slow for good costs them a hundredth of their time. Once would not do: before
// the first outputs a producer connects, and who lost his patience then would pause for seconds
// whatever is a little above its limit. A wait that is not in vain costs the others as much where
// they have nothing in hand: a partition that comes down at the last moment, again and again, would
// hold them to its own pace. Its time counts as if it were in vain.
//
// With CommitElsewhere nothing is done before its transaction ends, an interval of those later
// (100 ms): the patience is longer then, and fewer times are as long.
const (
	patience               = 100 * time.Millisecond
	patienceElsewhere      = 5 * patience
	patienceSteps          = 20
	impatientTimes         = 100 // patience, for each wait in vain
	patienceTimes          = 4   // one behind the other
	patienceTimesElsewhere = 2
)

func (rd *reader) patience() time.Duration {
	if rd.cfg.CommitElsewhere {
		return patienceElsewhere
	}
	return patience
}

// impatientFor is for how long a wait in vain is held against a partition.
func (rd *reader) impatientFor() int64 { return int64(impatientTimes * rd.patience()) }

// hasPatience tells whether a partition that is above its limit may have come down by itself soon.
// Under the partition's lock.
func (rd *reader) hasPatience(p *partition, now int64) bool {
	waits := int64(patienceTimes)
	if rd.cfg.CommitElsewhere {
		waits = patienceTimesElsewhere
	}
	return p.heldAgainst-now <= (waits-1)*rd.impatientFor()
}

// holdAgainst holds a step of a wait against those that are waited for, if the others have nothing
// in hand, and one of them has something to read.
func (rd *reader) holdAgainst() {
	now, parts := rd.clock.now(), rd.parts.all()
	_, limits := rd.limits(parts)
	var waited []*partition
	waiting := false
	for i, p := range parts {
		p.mu.Lock()
		reads := !p.paused && p.core.State().Reads()
		over, busy := reads && rd.isOver(p, limits[i]), p.hand.records+len(p.parked.recs) > 0
		waiting = waiting || reads && !over && p.readTo() < p.ends.stable
		p.mu.Unlock()
		if over {
			waited = append(waited, p)
		} else if reads && busy {
			return
		}
	}
	if !waiting {
		return
	}
	rd.room.on(roomOthersRest)
	for _, p := range waited {
		p.mu.Lock()
		p.heldAgainst = max(p.heldAgainst, now) + rd.impatientFor()/patienceSteps
		p.mu.Unlock()
	}
}

// isOver tells whether a partition is above its limit. Under its lock.
func (rd *reader) isOver(p *partition, limit float64) bool {
	return rd.useNow(p) >= limit || p.openShare() >= 1 || p.waits()
}

// awaitRoom waits until no partition is above its limit, or patience ends. Rebalances are not held
// up: no poll is open.
func (rd *reader) awaitRoom(ctx context.Context) {
	if !rd.crowded() {
		return
	}
	// Told first, then looked at again: a release between the two would else kick nobody.
	rd.room.on(roomBegin)
	defer rd.room.on(roomEnd)
	tick := time.NewTicker(rd.patience() / patienceSteps)
	defer tick.Stop()
	rd.awaitSteps(ctx, tick.C)
}

func (rd *reader) awaitSteps(ctx context.Context, tick <-chan time.Time) {
	for left := patienceSteps; rd.crowded(); {
		select {
		case <-rd.room.kicks:
		case <-tick:
			rd.holdAgainst()
			if left--; left == 0 {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// crowded tells whether a partition is above its limit that is worth waiting for.
func (rd *reader) crowded() bool {
	now, parts := rd.clock.now(), rd.parts.all()
	_, limits := rd.limits(parts)
	for i, p := range parts {
		p.mu.Lock()
		waited := !p.paused && p.core.State().Reads() && rd.isOver(p, limits[i]) && rd.hasPatience(p, now)
		p.mu.Unlock()
		if waited {
			return true
		}
	}
	return false
}

// balanceFlow pauses what is above its limit and resumes what fell to half of it. It runs after
// every poll, and when a paused partition gave memory back.
func (rd *reader) balanceFlow() {
	rd.parts.flowMu.Lock()
	defer rd.parts.flowMu.Unlock()
	parts := rd.parts.all()
	if len(parts) == 0 {
		return
	}
	_, limits := rd.limits(parts)
	pause, resume := map[string][]int32{}, map[string][]int32{}
	for i, p := range parts {
		a := p.assignment
		switch rd.decide(p, limits[i]) {
		case flowPause:
			pause[a.Topic] = append(pause[a.Topic], a.Partition)
		case flowResume:
			resume[a.Topic] = append(resume[a.Topic], a.Partition)
		}
	}
	cl := rd.brokers.client.Load()
	if len(pause) > 0 {
		cl.PauseFetchPartitions(pause)
	}
	if len(resume) > 0 {
		cl.ResumeFetchPartitions(resume)
	}
}

// limits returns what each partition uses, and where it is paused.
func (rd *reader) limits(parts []*partition) (used, limits []float64) {
	share := (1 - sharedPart) / float64(len(parts))
	used, limits = make([]float64, len(parts)), make([]float64, len(parts))
	total := 0.0
	for i, p := range parts {
		used[i] = rd.use(p)
		total += max(0, used[i]-share)
	}
	for i := range parts {
		others := total - max(0, used[i]-share)
		limits[i] = share + freeShare*max(0, sharedPart-others)
	}
	return used, limits
}

// pollRoom is the part of the whole that the next poll may return. All of it may belong to one
// partition, and lift that one above its limit: a fixed eighth was not enough, since that can
// happen once for each partition, and a hundred stalled ones would hold twelve times the budget
// (S9). So the sum of what lies above the shares is held to an eighth more than the half that is
// meant for it; where that is used up, a poll returns no more than the fullest partition that still
// reads may take.
func (rd *reader) pollRoom() float64 {
	parts := rd.parts.all()
	if len(parts) == 0 {
		return overshoot
	}
	used, limits := rd.limits(parts)
	share := (1 - sharedPart) / float64(len(parts))
	room, least := sharedPart+overshoot, overshoot
	for i, p := range parts {
		room -= max(0, used[i]-share)
		p.mu.Lock()
		reads := !p.paused && p.core.State().Reads()
		p.mu.Unlock()
		if reads {
			least = min(least, limits[i]-used[i])
		}
	}
	return min(max(room, least), overshoot)
}

type flowChange int

const (
	flowKeep flowChange = iota
	flowPause
	flowResume
)

// use is the part of the budget that a partition takes: of bytes or records, whichever is more.
func (rd *reader) use(p *partition) float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return rd.useNow(p)
}

// useNow is use, under the partition's lock.
func (rd *reader) useNow(p *partition) float64 {
	bytes, records := p.hand.bytes+p.parked.bytes, p.hand.records+len(p.parked.recs)
	return max(float64(bytes)/float64(rd.cfg.MaxBytes), float64(records)/float64(rd.cfg.MaxRecords))
}

// decide also holds the distance between the mark and the newest input to MaxRecords: one input
// that is never done may not let the tracker and the commit distance grow for ever, however little
// memory the others take. What is parked waits for the same.
//
// What the partition uses is read under the lock: by an older number it could be paused after its
// last input was released, and nothing would be left to resume it.
func (rd *reader) decide(p *partition, limit float64) flowChange {
	p.mu.Lock()
	defer p.mu.Unlock()
	used := rd.useNow(p)
	open := p.openShare()
	switch state := p.core.State(); {
	case state == assignment.Halted || state == assignment.Foreign:
		if p.paused {
			return flowKeep
		}
		p.paused = true
		return flowPause
	case !state.Reads():
		return flowKeep
	case !p.paused && rd.isOver(p, limit):
		if rd.room.now().goesOn() { // the poll loop waits for it, and then decides
			return flowKeep
		}
		if now := rd.clock.now(); rd.hasPatience(p, now) && !rd.room.now().othersRested() { // else its steps were held against it
			p.heldAgainst = max(p.heldAgainst, now) + rd.impatientFor()
		}
		p.paused = true
		return flowPause
	case p.paused && used <= limit/2 && open <= 0.5 && len(p.parked.recs) == 0:
		p.paused = false
		return flowResume
	}
	return flowKeep
}
