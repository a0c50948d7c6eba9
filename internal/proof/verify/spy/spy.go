// Package spy feeds a verify.Checker from the seam between pipeline and producer: assignment
// epochs, units and their reports (S4, S12).
package spy

import (
	"context"
	"fmt"

	"github.com/ackmark/ackmark/internal/proof/verify"
	"github.com/ackmark/ackmark/producer"
)

// Producer passes everything on to another producer, and tells a checker.
type Producer struct {
	producer.Producer
	checker *verify.Checker
	process string
}

// A pipeline asks its producer for these; one that lacks a method of theirs would be taken for one
// that cannot.
var _ interface {
	producer.Committer
	producer.Fencer
	producer.Heir
} = (*Producer)(nil)

// New returns a spy on a producer. process names the app process in messages, and must be unique; a
// restarted one gets another name.
func New(p producer.Producer, checker *verify.Checker, process string) *Producer {
	return &Producer{p, checker, process}
}

// Assign implements producer.Producer.
func (s *Producer) Assign(ctx context.Context, m producer.Membership, added []producer.Assignment) error {
	s.checker.EpochMember(s.process, m.MemberID)
	for _, a := range added {
		s.checker.EpochStart(s.process, a.Epoch, m.MemberID, verify.Partition{Topic: a.Topic, Partition: a.Partition}, a.Start)
	}
	return s.Producer.Assign(ctx, m, added)
}

// Release implements producer.Producer. From here on nobody may commit these assignments but the
// process itself.
func (s *Producer) Release(ctx context.Context, epochs []uint64) error {
	s.checker.Released(s.process, epochs...)
	return s.Producer.Release(ctx, epochs)
}

// OnFenced implements producer.Fencer, for a producer that does not: nobody fences that one.
func (s *Producer) OnFenced(fn func(*producer.Error)) (forget func()) {
	if f, ok := s.Producer.(producer.Fencer); ok {
		return f.OnFenced(fn)
	}
	return func() {}
}

// Inherit implements producer.Heir, for a producer that does not: nobody commits for that one.
func (s *Producer) Inherit(ctx context.Context, group, instanceID string) error {
	if h, ok := s.Producer.(producer.Heir); ok {
		return h.Inherit(ctx, group, instanceID)
	}
	return nil
}

// CommitUnits implements producer.Committer.
func (s *Producer) CommitUnits() error {
	c, ok := s.Producer.(producer.Committer)
	if !ok {
		return fmt.Errorf("%T commits nothing", s.Producer)
	}
	return c.CommitUnits()
}

// Committing implements producer.Committer.
func (s *Producer) Committing() bool {
	c, ok := s.Producer.(producer.Committer)
	return ok && c.Committing()
}

// Crossed implements producer.Committer.
func (s *Producer) Crossed(epoch uint64, offset int64) {
	if c, ok := s.Producer.(producer.Committer); ok {
		c.Crossed(epoch, offset)
	}
}

// Deliver implements producer.Producer. The units are noted before they are handed over: afterwards
// they belong to the producer, and the first reports may be there before Deliver returns.
func (s *Producer) Deliver(ctx context.Context, units []producer.Unit, r producer.Reporter) error {
	noted := make([]verify.Unit, len(units))
	for i, u := range units {
		noted[i] = verify.Unit{Epoch: u.Source.Epoch, Offset: u.Source.Offset}
		for _, out := range u.Outputs {
			noted[i].Outputs = append(noted[i].Outputs, out.Value)
		}
	}
	d := s.checker.Delivered(s.process, noted)
	err := s.Producer.Deliver(ctx, units, &reporter{d, r})
	if err != nil {
		d.Refused()
	}
	return err
}

// reporter tells the checker before the pipeline: from the pipeline's side on, a commit may follow.
type reporter struct {
	d  *verify.Delivery
	to producer.Reporter
}

func (r *reporter) Acked(first, n int) {
	r.d.Acked(first, n)
	r.to.Acked(first, n)
}

func (r *reporter) Failed(unit int, err *producer.Error) {
	if err != nil && err.Code == producer.CodeSessionFenced {
		r.d.Fenced(unit, err)
	} else {
		r.d.Failed(unit, err)
	}
	r.to.Failed(unit, err)
}
