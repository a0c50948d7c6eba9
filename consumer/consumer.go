// Package consumer reads a Kafka group's partitions and commits an offset only when every input below it is done.
package consumer

import (
	"context"
	"iter"
)

// Hooks are called at the points of a rebalance, one at a time, from the group's goroutine.
type Hooks struct {
	// Assigned is called after every completed rebalance, before the first input of the added partitions is handed out. added may be empty.
	Assigned func(ctx context.Context, m Membership, added []*Assignment)
	// Revoking is called when partitions leave, after what ran was drained (or the drain deadline passed) and before the last commit.
	// ctx ends at the revoke deadline.
	Revoking func(ctx context.Context, leaving []*Assignment)
	// Lost is called when partitions were lost: another member may hold them already, nothing is committed.
	Lost func(lost []*Assignment)
}

// partition is the state of one stay of one partition.
type partition struct {
	assignment *Assignment
	ctx        context.Context
}

// Consumer reads one group.
type Consumer struct{}

// Config (skeleton: see the contract).
type Config struct{}

// New checks the configuration; it does not connect.
func New(cfg Config) (*Consumer, error) { panic("skeleton") }

// Run joins the group and hands batches to deliver, from the poll goroutine, until ctx ends or the consumer stops by itself; then it
// drains, commits, leaves the group and returns. deliver must not block for long: memory is bounded by the budget, not by it.
func (c *Consumer) Run(ctx context.Context, deliver func(*Batch)) error { panic("skeleton") }

// Messages runs the consumer and yields its inputs one by one.
func (c *Consumer) Messages(ctx context.Context) iter.Seq2[*Message, error] { panic("skeleton") }

// Batches runs the consumer and yields its inputs in batches.
func (c *Consumer) Batches(ctx context.Context) iter.Seq2[*Batch, error] { panic("skeleton") }

// Check tells whether the consumer works now: nil, or what is wrong and what to do.
func (c *Consumer) Check(ctx context.Context) error { panic("skeleton") }

// Close ends Run and waits for it.
func (c *Consumer) Close() error { panic("skeleton") }
