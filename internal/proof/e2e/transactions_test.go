package e2e

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/audit"
	"github.com/ackmark/ackmark/internal/proof/verify/reader"
)

// transactions holds what each transaction of the group wrote against what it committed: S5, record
// by record as the brokers have it, by producer id and epoch.
func (s *scenario) transactions() reader.Compared {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), settle) // other groups' may be open
	defer cancel()
	c, err := reader.Transactions(ctx, []kgo.Opt{kgo.SeedBrokers(s.kafka.Addrs()...)}, s.input, s.output, audit.TransactionOptions{Group: s.group})
	if err != nil {
		s.Fatal(err)
	}
	s.Logf("%d transactions with %d outputs and %d offsets, %d of them without outputs: %d torn; %d inputs are committed so, %d outputs and offsets are of none",
		c.Transactions, c.Outputs, c.Offsets, c.WithoutRecords, c.TornOnes(), c.Covered, c.Plain)
	return c
}

// allWhole wants all inputs done by transactions, none of them torn, and returns what it looked at.
func (s *scenario) allWhole(inputs uint64) reader.Compared {
	s.Helper()
	c := s.transactions()
	if err := c.Complete(inputs); err != nil {
		s.Error(err)
	}
	return c
}
