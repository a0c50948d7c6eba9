// Package consumertest tests loops over consumer.Messages without a broker: it hands out inputs as
// a consumer would, and notes what becomes of each, in order.
//
//	inputs := consumertest.New(&kgo.Record{Topic: "orders", Offset: 7, Value: order})
//	run(inputs.Messages(t.Context())) // the loop under test
//	if got := inputs.Committable("orders", 0); got != 8 { … }
package consumertest

import (
	"context"
	"iter"
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/consumer"
)

// Inputs are what a loop is given.
type Inputs struct {
	mu       sync.Mutex
	records  []*kgo.Record
	handed   int
	outcomes []Outcome
	halted   map[partition]*consumer.HaltError
	untold   []*consumer.HaltError
	changed  chan struct{}
}

type partition struct {
	topic string
	id    int32
}

// Outcome is what the first Done of an input was given.
type Outcome struct {
	Record *kgo.Record
	Err    error
}

// New makes inputs of records, which are handed out in this order. Their Topic, Partition and
// Offset are the caller's: offsets of a partition must rise.
func New(records ...*kgo.Record) *Inputs {
	return &Inputs{records: records, halted: map[partition]*consumer.HaltError{}, changed: make(chan struct{}, 1)}
}

// Messages is like consumer.Consumer.Messages: an input that fails halts its partition, whose
// *consumer.HaltError is yielded once and whose later inputs are not handed out. It ends when
// everything handed out has its outcome, when the loop is left, or with ctx. It is called once.
func (in *Inputs) Messages(ctx context.Context) iter.Seq2[*consumer.Message, error] {
	return func(yield func(*consumer.Message, error) bool) {
		for ctx.Err() == nil {
			halt, m, wait := in.next()
			switch {
			case halt != nil:
				if !yield(nil, halt) {
					return
				}
			case m != nil:
				if m.Start() && !yield(m, nil) {
					return
				}
			case !wait:
				return
			default:
				select {
				case <-in.changed:
				case <-ctx.Done():
				}
			}
		}
	}
}

// next is what to yield now; wait tells that inputs are open.
func (in *Inputs) next() (halt *consumer.HaltError, m *consumer.Message, wait bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.untold) > 0 {
		halt, in.untold = in.untold[0], in.untold[1:]
		return halt, nil, false
	}
	for in.handed < len(in.records) {
		r := in.records[in.handed]
		if in.halted[partition{r.Topic, r.Partition}] != nil {
			in.records = slices.Delete(slices.Clone(in.records), in.handed, in.handed+1)
			continue
		}
		in.handed++
		return nil, consumer.NewMessage(r, func(err error) { in.endedWith(r, err) }), false
	}
	return nil, nil, len(in.outcomes) < in.handed
}

func (in *Inputs) endedWith(r *kgo.Record, err error) {
	in.mu.Lock()
	in.outcomes = append(in.outcomes, Outcome{r, err})
	at := partition{r.Topic, r.Partition}
	if err != nil && in.halted[at] == nil {
		e := &consumer.HaltError{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, LostFrom: -1, LostTo: -1, Err: err}
		in.halted[at] = e
		in.untold = append(in.untold, e)
	}
	in.mu.Unlock()
	select {
	case in.changed <- struct{}{}:
	default:
	}
}

// Outcomes lists what was done and what failed, in the order of the calls of Done.
func (in *Inputs) Outcomes() []Outcome {
	in.mu.Lock()
	defer in.mu.Unlock()
	return slices.Clone(in.outcomes)
}

// Open lists what was handed out and has no outcome, in the order in which it was handed out: after
// the loop ended, what it forgot.
func (in *Inputs) Open() []*kgo.Record {
	in.mu.Lock()
	defer in.mu.Unlock()
	var open []*kgo.Record
	for _, r := range in.records[:in.handed] {
		if !slices.ContainsFunc(in.outcomes, func(o Outcome) bool { return o.Record == r }) {
			open = append(open, r)
		}
	}
	return open
}

// Committable is the offset that a consumer would commit now: below it all is done. -1: nothing of
// that partition was handed out.
func (in *Inputs) Committable(topic string, id int32) int64 {
	in.mu.Lock()
	defer in.mu.Unlock()
	mark := int64(-1)
	for _, r := range in.records[:in.handed] {
		if r.Topic != topic || r.Partition != id {
			continue
		}
		if !slices.ContainsFunc(in.outcomes, func(o Outcome) bool { return o.Record == r && o.Err == nil }) {
			return r.Offset
		}
		mark = r.Offset + 1
	}
	return mark
}
