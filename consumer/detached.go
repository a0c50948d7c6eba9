package consumer

import (
	"log/slog"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"
)

// NewMessage makes an input that belongs to no group, for tests of code that takes a *Message.
// outcome, which may be nil, is called once, with what the first Done was given; it must not call
// the message's methods. Package consumertest makes whole loops testable.
func NewMessage(r *kgo.Record, outcome func(error)) *Message {
	if outcome == nil {
		outcome = func(error) {}
	}
	around := newSurroundings(&Config{MaxRecords: 1}, slog.New(slog.DiscardHandler), new(atomic.Bool))
	a := &Assignment{Topic: r.Topic, Partition: r.Partition, LeaderEpoch: -1, Epoch: lastEpoch.Add(1), Start: r.Offset}
	p := newPartition(around, a, -1)
	one := &run{part: p, left: 1, states: make([]uint32, 1), outcome: outcome}
	one.Assignment = a
	one.append(r)
	if _, ok := p.core.Read(r.Offset, 0); !ok {
		panic("consumer: a new tracker is full")
	}
	p.hand.runs = append(p.hand.runs, one)
	return &one.Messages[0]
}

// mine is the message's run. One that was made by hand has none, and would be a nil dereference
// somewhere below.
func (m *Message) mine() *run {
	if m.run == nil {
		panic("consumer: this Message was handed out by no Consumer; in tests make it with consumer.NewMessage")
	}
	return m.run
}

// tell is for messages of tests.
func (r *run) tell(err error) {
	if r.outcome != nil {
		r.outcome(err)
	}
}
