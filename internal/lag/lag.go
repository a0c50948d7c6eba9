// Package lag says from readings of a group's offsets whether it keeps up: readings in, a verdict
// out. It asks nobody and knows no clock.
//
// One reading cannot tell: a lag of a thousand may be a second's work, or a week's silence. A
// verdict is about a window of readings, and where that is too short it is [Unknown].
package lag

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Verdict about a partition or a group, worst first.
type Verdict string

// Verdicts.
const (
	// Stalled: nothing was committed in the whole window, though something waited all the time.
	Stalled Verdict = "stalled"
	// Growing: it commits, and every lag of the window's second half is above every one of its
	// first half.
	Growing Verdict = "growing"
	// Unknown: it could not be read, or the window is too short to tell.
	Unknown Verdict = "unknown"
	// Draining: every lag of the second half is below every one of the first half.
	Draining Verdict = "draining"
	// OK: it has caught up within the window, or commits and keeps its distance.
	OK Verdict = "ok"
)

// Verdicts are all, worst first.
var Verdicts = []Verdict{Stalled, Growing, Unknown, Draining, OK}

// MinStall is how long nothing must have been committed before that means anything: clients commit
// every five seconds by default.
const MinStall = 10 * time.Second

// None is an offset that there is not.
const None = -1

// Reading is what was known of a partition at a moment.
type Reading struct {
	At time.Time
	// Start and End bound the log; Committed is the group's offset, None if it has none.
	Start, End, Committed int64
	// Lag is how many offsets there are from Committed (or Start) to End.
	Lag int64
	// Above is how many of them are done already: the done-set of an Ackmark commit.
	Above int64
	// Problem says why the partition could not be read; nothing but At means anything then.
	Problem string
}

// Partition is what a window of readings says.
type Partition struct {
	Verdict Verdict
	// Notes say what the reader of the figures should know.
	Notes []string
	// Arriving and Done are offsets per second over the window; not known from one reading.
	Arriving, Done float64
	Rated          bool
	// Drained is when the lag is gone at these rates; 0: never, or it is.
	Drained time.Duration
}

// Judge says what a window of readings means, oldest first. It needs one at least.
func Judge(window []Reading) Partition {
	last := window[len(window)-1]
	if last.Problem != "" {
		return Partition{Verdict: Unknown, Notes: []string{last.Problem}}
	}
	window = window[sameLog(window):]
	p := Partition{Notes: notes(last)}
	p.rate(window)
	p.Verdict = verdict(window)
	switch {
	case p.Verdict == Stalled && last.Above > window[0].Above:
		p.Notes = append(p.Notes, "inputs above the committed offset get done: one below blocks them")
	case p.Verdict == Unknown && len(window) == 1:
		p.Notes = append(p.Notes, "one reading cannot tell whether it moves")
	case p.Verdict == Unknown && last.Committed <= last.End:
		p.Notes = append(p.Notes, fmt.Sprintf("nothing was committed, but for less than %s", MinStall))
	}
	return p
}

// sameLog is where the readings begin that are of the same log and went on from each other: none
// that could not be read, no log that begins or ends earlier than before, no commit that was set
// back.
func sameLog(window []Reading) int {
	for i := len(window) - 1; i > 0; i-- {
		before, r := window[i-1], window[i]
		if before.Problem != "" || r.Start < before.Start || r.End < before.End || r.Committed < before.Committed {
			return i
		}
	}
	return 0
}

func notes(r Reading) (notes []string) {
	switch {
	case r.Committed == None && r.Lag > 0:
		notes = append(notes, "never committed")
	case r.Committed > r.End:
		notes = append(notes, fmt.Sprintf("committed at %d, beyond the end %d: the topic was cut or created anew", r.Committed, r.End))
	case r.Committed >= 0 && r.Committed < r.Start:
		notes = append(notes, fmt.Sprintf("committed at %d, below the start %d: %d offsets were deleted and nobody will read them", r.Committed, r.Start, r.Start-r.Committed))
	}
	return notes
}

func (p *Partition) rate(window []Reading) {
	first, last := window[0], window[len(window)-1]
	seconds := last.At.Sub(first.At).Seconds()
	if seconds <= 0 {
		return
	}
	p.Rated = true
	p.Arriving = float64(last.End-first.End) / seconds
	p.Done = float64(max(last.Committed, last.Start, 0)-max(first.Committed, first.Start, 0)) / seconds
	if faster := p.Done - p.Arriving; faster > 0 && last.Lag > 0 {
		p.Drained = time.Duration(min(float64(last.Lag)/faster, 1e9) * float64(time.Second))
	}
}

func verdict(window []Reading) Verdict {
	first, last := window[0], window[len(window)-1]
	caughtUp := slices.ContainsFunc(window, func(r Reading) bool { return r.Lag == 0 })
	switch {
	case last.Committed > last.End:
		return Unknown
	case last.Lag == 0 || caughtUp:
		return OK
	case len(window) == 1:
		return Unknown
	case first.Committed != last.Committed:
		return trend(window)
	case last.At.Sub(first.At) >= MinStall:
		return Stalled
	}
	return Unknown
}

// trend compares the halves. Commits come in steps, so lags go up and down: only what all of a half
// say counts.
func trend(window []Reading) Verdict {
	half := len(window) / 2
	lags := func(part []Reading) (low, high int64) {
		by := func(a, b Reading) int { return cmp.Compare(a.Lag, b.Lag) }
		return slices.MinFunc(part, by).Lag, slices.MaxFunc(part, by).Lag
	}
	lowA, highA := lags(window[:half])
	lowB, highB := lags(window[half:])
	switch {
	case lowB > highA:
		return Growing
	case highB < lowA:
		return Draining
	}
	return OK
}

// Worst is the verdict about a group of these partitions; without any it is Unknown.
func Worst(all []Verdict) Verdict {
	if len(all) == 0 {
		return Unknown
	}
	return slices.MinFunc(all, func(a, b Verdict) int { return cmp.Compare(slices.Index(Verdicts, a), slices.Index(Verdicts, b)) })
}
