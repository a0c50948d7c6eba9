package producer

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/ackmark/ackmark/internal/wire"
)

// waiter is a call that waits for space. Calls are served in the order in which they came.
type waiter struct {
	turn chan struct{} // closed when it is worth looking again
	told bool
}

// Deliver implements Producer.
func (c *client) Deliver(ctx context.Context, units []Unit, r Reporter) error {
	total, bad := checkUnits(units)
	if bad != nil {
		return bad
	}
	total.bytes += int64(len(units))*unitOverhead + int64(total.records)*outputOverhead
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.admit(ctx, total); err != nil {
		return err
	}
	if len(units) > 0 {
		c.take(units, r)
	}
	return nil
}

// What the encoding adds, for weighing a call before it is encoded; the books are kept with true
// sizes.
const (
	unitOverhead   = 24
	outputOverhead = 16
)

// admit waits until a call of this weight may be taken. It is called with mu held, gives it up
// while it waits, and returns with it held.
func (c *client) admit(ctx context.Context, want cost) error {
	if err := c.ready(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if c.waiters.len() == 0 && c.fits(want) {
		return nil
	}
	if c.cfg.OnFull == Refuse {
		return errFull(fmt.Sprintf("%d bytes and %d records are on their way (limits %d and %d)",
			c.win.taken.bytes, c.win.taken.records, c.limit.bytes, c.limit.records))
	}
	w := &waiter{turn: make(chan struct{})}
	c.waiters.push(w)
	defer c.withdraw(w)
	for {
		c.mu.Unlock()
		select {
		case <-w.turn:
		case <-ctx.Done():
		}
		c.mu.Lock()
		if err := c.ready(); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if *c.waiters.at(0) == w && c.fits(want) {
			return nil
		}
		if w.told {
			w.told, w.turn = false, make(chan struct{})
		}
	}
}

// fits tells whether a call may be taken now. What is larger than the whole limit passes alone.
func (c *client) fits(want cost) bool {
	if c.win.taken == (cost{}) {
		return true
	}
	want.add(c.win.taken)
	return want.within(c.limit)
}

// withdraw removes a waiter, wherever it stands, and lets the next one look.
func (c *client) withdraw(w *waiter) {
	for i := range c.waiters.len() {
		if *c.waiters.at(i) == w {
			for ; i < c.waiters.len()-1; i++ {
				*c.waiters.at(i) = *c.waiters.at(i + 1)
			}
			c.waiters.truncate(c.waiters.len() - 1)
			break
		}
	}
	c.grant()
}

// grant has the first waiter look whether there is space; when there will be none any more, all of
// them. The caller holds mu.
func (c *client) grant() {
	n := min(1, c.waiters.len())
	if c.closed || c.fatal != nil {
		n = c.waiters.len()
	}
	for i := range n {
		if w := *c.waiters.at(i); !w.told {
			w.told = true
			close(w.turn)
		}
	}
}

// take encodes the units into frames. The caller holds mu and passed admit.
func (c *client) take(units []Unit, r Reporter) {
	c.calls++
	call := callRef{c.calls, r, c.tally.add(len(units))}
	held, known := uint64(0), true // units of one epoch come in runs: one look-up per run
	refused := false
	for i := range units {
		u := &units[i]
		if u.Source.Epoch != held {
			held = u.Source.Epoch
			known = c.epochs.holds(held)
		}
		if !known {
			c.addFate(fate{call, i, 1, c.refusal(held)})
			refused = true
		} else if err := c.encode(u, call, i); err != nil {
			c.addFate(fate{call, i, 1, err})
			refused = true
		}
	}
	if refused {
		c.notify()
	}
	if c.idle {
		c.writable.Signal()
	}
}

func (c *client) refusal(epoch uint64) *Error {
	if c.epochs.releasedAlready(epoch) {
		return errReleased(epoch)
	}
	return errUnknownAssignment(epoch)
}

// encode appends one unit to the open frame.
func (c *client) encode(u *Unit, call callRef, index int) *Error {
	if err := unfitUnit(u.Outputs); err != nil {
		return err
	}
	f := c.win.open()
	start := len(f.data)
	data := wire.OpenUnit(f.data, wire.Source(u.Source))
	out := wire.Output{} // one for all outputs: building it anew costs more than the fields
	for j := range u.Outputs {
		rec := &u.Outputs[j]
		topic, err := c.topics.index(rec.Topic)
		if err != nil {
			f.data = data[:start]
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
	if err := c.tooLarge(size); err != nil {
		f.data = data[:start]
		if len(u.Outputs) > 0 {
			err.Topic = u.Outputs[0].Topic
		}
		return err
	}
	f.data = data
	c.win.add(u.Source.Epoch, size, max(1, len(u.Outputs)), call, index)
	return nil
}

// tooLarge refuses a unit that the sidecar would break the stream for.
func (c *client) tooLarge(size int) *Error {
	limit := c.maxUnit
	if limit == 0 {
		limit = maxUnit
	}
	if size <= limit {
		return nil
	}
	return &Error{Code: "MESSAGE_TOO_LARGE", Partition: -1,
		Message: fmt.Sprintf("the unit has %d bytes, the sidecar takes %d in one message: raise its maximum message size, or make the outputs smaller",
			size, limit)}
}

// topicTable numbers topic names. The numbers stay for the client's life, so encoded units can go
// to another stream; each stream is told the names again.
type topicTable struct {
	names []string
	byID  map[string]uint32
	last  string // of the record before: most neighbours go to the same topic
	lastI uint32
}

// maxTopics is the protocol's limit of topic names per stream.
const maxTopics = 1 << 16

// maxTopicName is Kafka's limit. A longer name must not reach the sidecar: it could be larger than
// a message.
const maxTopicName = 249

func (t *topicTable) index(name string) (uint32, *Error) {
	if name == t.last && len(t.names) > 0 {
		return t.lastI, nil
	}
	i, ok := t.byID[name]
	if !ok {
		if len(name) > maxTopicName {
			return 0, &Error{Code: kerr.InvalidTopicException.Message, Partition: -1,
				Message: fmt.Sprintf("the topic's name %.40q… has %d characters, Kafka takes %d: correct Record.Topic", name, len(name), maxTopicName)}
		}
		if len(t.names) == maxTopics {
			return 0, &Error{Code: CodeInvalidRecord, Topic: name, Partition: -1,
				Message: fmt.Sprintf("this producer has written to %d topics, more names do not fit: use a second producer", maxTopics)}
		}
		if t.byID == nil {
			t.byID = map[string]uint32{}
		}
		name = string(append([]byte(nil), name...)) // the table must not keep a larger string of the user's alive
		i = uint32(len(t.names))
		t.names = append(t.names, name)
		t.byID[name] = i
	}
	t.last, t.lastI = name, i
	return i, nil
}
