package txn

import "time"

// pace says when a window is due. A alone unit after a pause is committed at once; otherwise there
// is one window in each interval. While about as many units wait at every close as it had, windows
// get longer, so that what a transaction costs beside its records is a tenth of the time, or the
// limit is reached. Some always wait where units come all the time, since a close takes its time:
// with a round trip of 5 ms to the brokers that made windows of 100 ms three times as long.
type pace struct {
	every    time.Duration // of the configuration
	interval time.Duration // of now
	most     time.Duration // of interval
	lastEnd  time.Time
	quiet    time.Duration // how long nobody comes before a large window closes
	units    int           // of the last window
	waited   int           // closes in a row at which a crowd waited
	aborts   int           // in a row, by which nothing got on
}

const (
	alone       = 5 * time.Millisecond // how long the first unit of a window waits for company
	mostTimes   = 5                    // times every
	overhead    = 10                   // a transaction's own time is at most this part of the interval
	saturatedBy = 3                    // closes
	quietMost   = 4 * alone
	smallUnits  = 4 // as a part of the window before
	smallTimes  = 3 // the quiet
)

// newPace makes no window longer than a quarter of the transactions' timeout.
func newPace(every, timeout time.Duration) pace {
	return pace{every: every, interval: every, most: max(every, min(mostTimes*every, timeout/4)), quiet: alone}
}

// due is when a window closes that was opened then.
func (p *pace) due(opened time.Time) time.Time {
	at := opened.Add(min(alone, p.every))
	if next := p.lastEnd.Add(p.interval); next.After(at) {
		return next
	}
	return at
}

// closes is when a window closes if no unit comes after the last one. Where many have come, or
// large ones, and no more do, somebody may wait for them to be committed. For how long none comes
// is what a transaction costs beside its records: where the brokers, or the processors, are slow,
// units come late, too, and a transaction for a part of them is dear. The more so where the window
// before it had far more units: those who sent them have only just heard of it.
func (p *pace) closes(w *window, last time.Time) time.Time {
	at := p.due(w.opened)
	wait := p.quiet
	if w.units < p.units/smallUnits {
		wait *= smallTimes
	}
	if quiet := last.Add(wait); w.isLarge() && quiet.Before(at) {
		return quiet
	}
	return at
}

// isLarge tells that a window has so many units, or bytes, that its transaction costs little beside
// them.
func (w *window) isLarge() bool { return w.units >= sendEvery || w.bytes >= sendBytes }

// sendBytes are sendEvery records of a kilobyte.
const sendBytes = sendEvery << 10

// ended notes how long the offsets and the end of a window of some units took beyond the records,
// and how many units wait.
func (p *pace) ended(now time.Time, cost time.Duration, units, waiting int) {
	p.lastEnd, p.aborts, p.units = now, 0, units
	p.quiet = min(max(alone, cost), quietMost)
	if p.waited++; waiting == 0 || waiting < units/4*3 {
		p.waited = 0
	}
	p.interval = p.every
	if p.waited >= saturatedBy {
		p.interval = min(max(overhead*cost, p.every), p.most)
	}
}

// aborted notes that a window was aborted, and whether that got anything on: a guilty unit was
// found, or is looked for.
func (p *pace) aborted(on bool) {
	if p.aborts++; on {
		p.aborts = 0
	}
}

// pause is how long to wait before the next window, a little longer with each abort: what fails
// again and again must not keep the brokers busy.
func (p *pace) pause() time.Duration {
	if p.aborts <= 1 {
		return 0
	}
	return min(time.Second, 5*time.Millisecond<<min(p.aborts, 8))
}
