package reader

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/audit"
)

// Compared is what the transactions of a group wrote, held against what they committed.
type Compared struct {
	audit.TransactionCounts
	Torn []audit.Torn
}

// Transactions reads an input topic, what brokers keep of the group's offsets and an output topic,
// and compares them record by record, as a reader of committed records sees them. That has to be
// everything that the group reads and writes. Since it waits for transactions that are open, also
// for those of others in [audit.OffsetsTopic], the context should have a deadline.
func Transactions(ctx context.Context, opts []kgo.Opt, input, output string, of audit.TransactionOptions) (c Compared, err error) {
	opts = append(slices.Clone(opts), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if of.TopicIDs, err = ids(ctx, opts, input); err != nil {
		return c, err
	}
	all := audit.NewTransactions(of)
	for _, read := range []struct {
		topic string
		take  func(*kgo.Record)
	}{{input, all.Input}, {audit.OffsetsTopic, all.Offset}, {output, all.Output}} {
		if err := Topic(ctx, opts, read.topic, read.take); err != nil {
			return c, err
		}
	}
	c.Torn, c.TransactionCounts = all.Compare()
	return c, nil
}

func ids(ctx context.Context, opts []kgo.Opt, topic string) (map[string][16]byte, error) {
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	topics, err := kadm.NewClient(cl).ListTopics(ctx, topic)
	if err = errors.Join(err, topics.Error()); err != nil {
		return nil, fmt.Errorf("the id of topic %q: %w", topic, err)
	}
	return map[string][16]byte{topic: topics[topic].ID}, nil
}

const showTorn = 10

// Whole says what is wrong with the transactions, of which there have to be some.
func (c Compared) Whole() error {
	if c.Transactions == 0 {
		return errors.New("no transaction was looked at, so nothing is proven")
	}
	if len(c.Torn) == 0 {
		return nil
	}
	errs := []error{fmt.Errorf("%d of %d transactions are torn (S5)", c.TornOnes(), c.Transactions)}
	for _, t := range c.Torn[:min(showTorn, len(c.Torn))] {
		errs = append(errs, errors.New(t.String()))
	}
	return errors.Join(errs...)
}

// Complete is Whole of a group that was exactly-once all the time: every input was committed by a
// transaction. A commit beside them is a member's first word, which says where the group stands
// already.
func (c Compared) Complete(inputs uint64) error {
	err := c.Whole()
	if c.Covered != int64(inputs) {
		err = errors.Join(err, fmt.Errorf("transactions commit %d of %d inputs", c.Covered, inputs))
	}
	return err
}

// TornOnes counts the transactions with which something is wrong.
func (c Compared) TornOnes() int {
	by := map[audit.Writer]bool{}
	for _, t := range c.Torn {
		by[t.Writer] = true
	}
	return len(by)
}
