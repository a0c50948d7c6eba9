package txn

import "slices"

// backlog is what waits to be taken into a window, in order. The lane's goroutine has it.
type backlog struct {
	again    []Run // units of an aborted window: before the queue
	alone    bool  // the next windows are for those alone
	queue    []Run
	flushing bool // nothing waits for company
	parked   parked
}

// receive queues what was pushed.
func (b *backlog) receive(in *inbox) {
	var flush bool
	b.queue, flush = in.take(b.queue)
	b.flushing = b.flushing || flush
}

// add queues a run of the lane's own.
func (b *backlog) add(r Run) { b.queue = append(b.queue, r) }

// retry puts back what is to be tried again of a window that was aborted.
func (b *backlog) retry(again []Run) {
	b.again = append(again, b.again...)
	b.alone = len(b.again) > 0
}

// unpark puts what need not be parked any more before all else: nothing older of its holders is in
// hand.
func (b *backlog) unpark() { b.again = append(b.parked.goOn(), b.again...) }

// taken notes that a window closes, or that there is nothing: what waits for it is flushed no more.
func (b *backlog) taken() { b.flushing = b.flushing && len(b.queue)+len(b.again) > 0 }

// feed has units taken into a window, those of an aborted one first, and tells whether it is full.
// Those have a window of their own: with each abort there are fewer of them that cause one, and
// whoever has others to send cannot keep them from being committed.
func (b *backlog) feed(w *window, in *intake) (full bool) {
	b.again, full = b.feedFrom(b.again, w, in)
	if full || len(b.again) > 0 {
		return full
	}
	if b.alone && w.units > 0 {
		return true
	}
	b.alone = false
	b.queue, full = b.feedFrom(b.queue, w, in)
	return full
}

// feedFrom has what fits taken in, and returns what is left. A window is cut between units only.
func (b *backlog) feedFrom(runs []Run, w *window, in *intake) (left []Run, full bool) {
	in.begin()
	for n := range runs {
		r := &runs[n]
		var last *Claim
		fate := goesIn
		for ; r.From < r.To; r.From++ {
			if in.isFull(w) {
				return slices.Delete(runs, 0, n), true
			}
			st := r.Batch.Unit(r.From).Claim
			if st != last {
				last, fate = st, b.fateOf(st)
			}
			one := Run{r.Batch, r.From, r.From + 1}
			switch fate {
			case goesIn:
				in.enter(w, one)
			case waits:
				b.parked.park(parkingOf(st), one)
			case isOver:
				drop(one, st)
			}
		}
	}
	clear(runs)
	return runs[:0], in.isFull(w)
}

// fate is what becomes of a unit that is to be taken in, or whose window was aborted.
type fate uint8

const (
	goesIn fate = iota
	waits       // for a newer membership, or for its group's coordinator
	isOver      // its claim was given up
	fails       // it was to blame
)

func (b *backlog) fateOf(st *Claim) fate {
	switch {
	case st == nil:
		return goesIn
	case st.isAbandoned():
		return isOver
	case b.parked.has(st):
		return waits
	}
	return goesIn
}

// takeBehind takes out what is in hand of claims whose offsets cannot be committed, behind units
// that fail for it: their outputs must not be seen before those of what comes before them (S7).
func (b *backlog) takeBehind(in *inbox, refused map[*Claim]error) (behind []Run) {
	if len(refused) == 0 {
		return nil
	}
	b.receive(in)
	take := func(runs []Run) (left []Run) {
		for _, r := range runs {
			for i := r.From; i < r.To; i++ {
				if one := (Run{r.Batch, i, i + 1}); refused[r.Batch.Unit(i).Claim] != nil {
					behind = appendRun(behind, one)
				} else {
					left = appendRun(left, one)
				}
			}
		}
		return left
	}
	b.again = take(b.again)
	for at, runs := range b.parked.runs {
		b.parked.runs[at] = take(runs)
	}
	b.queue = take(b.queue)
	return behind
}

// contains tells whether there is such a run, of what is not parked.
func (b *backlog) contains(such func(Run) bool) bool {
	return slices.ContainsFunc(b.queue, such) || slices.ContainsFunc(b.again, such)
}

// rest is all of it, for the end of the lane.
func (b *backlog) rest(in []Run) []Run {
	all := slices.Concat(b.queue, in, b.again)
	for _, runs := range b.parked.runs {
		all = append(all, runs...)
	}
	return all
}

// drop tells of a unit that it was given up with its claim.
func drop(r Run, st *Claim) {
	r.Batch.Dropped(r.From, r.To)
	st.decided(r.To - r.From)
}

func appendRun(list []Run, r Run) []Run {
	if n := len(list); n > 0 && list[n-1].Batch == r.Batch && list[n-1].To == r.From {
		list[n-1].To = r.To
		return list
	}
	return append(list, r)
}

func countUnits(runs []Run) (n int) {
	for _, r := range runs {
		n += r.To - r.From
	}
	return n
}
