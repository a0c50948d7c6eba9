package producer

import (
	"fmt"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/producer/internal/deque"
	"github.com/ackmark/ackmark/producer/internal/resend"
	"github.com/ackmark/ackmark/producer/internal/tally"
	"github.com/ackmark/ackmark/producer/internal/unit"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

type (
	// owner is what is kept of a call of Deliver until its last unit is reported.
	owner struct {
		r     Reporter
		batch *tally.Batch
	}
	fate = resend.Fate[owner, Error]
)

// books are the units that the client has taken, and the calls that wait until it takes theirs. It
// is pure: no clock or goroutine; the client's lock guards it.
type books struct {
	queue    *resend.Queue[owner, Error]
	topics   topicTable
	assigned assignments
	line     line
	own      unit.Cost  // what may be taken, by our own configuration
	limit    unit.Cost  // and by the sidecar's credit besides
	credit   unit.Cost  // what may be sent and not reported
	maxUnit  int        // largest unit that the sidecar takes, in bytes; 0: not known yet
	tell     func(fate) // receives the fates of units that are not taken
}

// short is what a call waits for that does not fit.
func (b *books) short() string {
	if b.limit != b.own {
		return forCredit
	}
	return forBuffer
}

// setCredit replaces the credit.
func (b *books) setCredit(credit *sidecarpb.Credit) {
	const most = 1 << 40 // no overflow in sums, whatever the peer says
	b.credit = unit.Cost{Bytes: int64(min(credit.GetBytes(), most)), Records: int(min(credit.GetRecords(), most))}
	b.limit = unit.Cost{Bytes: min(b.own.Bytes, b.credit.Bytes), Records: min(b.own.Records, b.credit.Records)}
}

// noSidecar forgets the limits of a sidecar.
func (b *books) noSidecar() { b.maxUnit, b.limit = 0, b.own }

// fits tells whether a call may be taken now. What is larger than the whole limit passes alone.
func (b *books) fits(want unit.Cost) bool {
	taken := b.queue.Taken()
	if taken == (unit.Cost{}) {
		return true
	}
	want.Add(taken)
	return want.Within(b.limit)
}

// take encodes the units of a call that was admitted, and tells whether some of them were refused.
func (b *books) take(units []Unit, call resend.Call[owner]) (someRefused bool) {
	last, live := uint64(0), true // units of one epoch come in runs: one look-up per run
	for i := range units {
		u := &units[i]
		if u.Source.Epoch != last {
			last = u.Source.Epoch
			live = b.assigned.IsLive(last)
		}
		var err *Error
		if live {
			err = b.encode(u, call, i)
		} else {
			err = b.refusal(last)
		}
		if err != nil {
			b.tell(fate{Call: call, First: i, N: 1, Err: err})
			someRefused = true
		}
	}
	return someRefused
}

// refusal is the error of an epoch that is not live.
func (b *books) refusal(epoch uint64) *Error {
	if b.assigned.WasReleased(epoch) {
		return errReleased(epoch)
	}
	return errUnknownAssignment(epoch)
}

// encode appends one unit to the open frame.
func (b *books) encode(u *Unit, call resend.Call[owner], index int) *Error {
	if err := unfitUnit(u.Outputs); err != nil {
		return err
	}
	f := b.queue.Open()
	start := len(f.Data)
	data := wire.OpenUnit(f.Data, wire.Source(u.Source))
	out := wire.Output{} // one for all outputs: building it anew costs more than the fields
	for j := range u.Outputs {
		rec := &u.Outputs[j]
		topic, err := b.topics.index(rec.Topic)
		if err != nil {
			f.Data = data[:start]
			err.Output = j
			return err
		}
		out.Topic, out.Partition = topic, -1
		out.Key, out.Value, out.Headers = rec.Key, rec.Value, rec.Headers
		if rec.Partition != nil {
			out.Partition = *rec.Partition
		}
		out.SetTimestamp(rec.Timestamp)
		data = wire.AppendOutput(data, &out)
	}
	data = wire.CloseUnit(data, start)
	size := len(data) - start
	if err := b.tooLarge(size); err != nil {
		f.Data = data[:start]
		if len(u.Outputs) > 0 {
			err.Topic = u.Outputs[0].Topic
		}
		return err
	}
	f.Data = data
	b.queue.Add(u.Source.Epoch, size, max(1, len(u.Outputs)), call, index)
	return nil
}

// tooLarge refuses a unit that the sidecar would break the stream for.
func (b *books) tooLarge(size int) *Error {
	limit := b.maxUnit
	if limit == 0 {
		limit = resend.MaxUnit
	}
	if size <= limit {
		return nil
	}
	return &Error{Code: "MESSAGE_TOO_LARGE", Partition: -1,
		Message: fmt.Sprintf("the unit has %d bytes, the sidecar takes %d in one message: raise its maximum message size, or make the outputs smaller",
			size, limit)}
}

// notLive names the error of units whose epoch was released.
func (b *books) notLive(s resend.Slot) *Error {
	if b.assigned.IsLive(s.Epoch) {
		return nil
	}
	return errReleased(s.Epoch)
}

// unfit names the error of units that may not be sent again.
func (b *books) unfit(s resend.Slot) *Error {
	if err := b.notLive(s); err != nil {
		return err
	}
	return b.tooLarge(int(s.Bytes))
}

// pinnedFactor is how many times the limit frames may hold before what is left of them is copied
// out. Afterwards frames hold at most twice the limit, so that copying happens once per limit's
// worth of traffic at most.
const pinnedFactor = 3

// mayPin is how many bytes frames may hold, whatever of them is reported.
func (b *books) mayPin() int64 { return pinnedFactor * max(b.limit.Bytes, 1<<20) }

// line is the calls that wait for space, served in the order in which they came.
type line struct {
	waiters deque.Deque[*waiter]
}

type waiter struct {
	turn chan struct{} // closed when it is worth looking again
	told bool
}

func (l *line) isEmpty() bool { return l.waiters.Len() == 0 }

func (l *line) join() *waiter {
	w := &waiter{turn: make(chan struct{})}
	l.waiters.Push(w)
	return w
}

func (l *line) isFirst(w *waiter) bool { return *l.waiters.At(0) == w }

// waitAgain is for a waiter that looked in vain.
func (w *waiter) waitAgain() {
	if w.told {
		w.told, w.turn = false, make(chan struct{})
	}
}

// leave removes a waiter, wherever it stands.
func (l *line) leave(w *waiter) {
	for i := range l.waiters.Len() {
		if *l.waiters.At(i) == w {
			for ; i < l.waiters.Len()-1; i++ {
				*l.waiters.At(i) = *l.waiters.At(i + 1)
			}
			l.waiters.Truncate(l.waiters.Len() - 1)
			return
		}
	}
}

// wakeFirst has the first waiter look whether there is space.
func (l *line) wakeFirst() { l.wake(min(1, l.waiters.Len())) }

// wakeAll has all of them look: there will be no space any more.
func (l *line) wakeAll() { l.wake(l.waiters.Len()) }

func (l *line) wake(n int) {
	for i := range n {
		if w := *l.waiters.At(i); !w.told {
			w.told = true
			close(w.turn)
		}
	}
}
