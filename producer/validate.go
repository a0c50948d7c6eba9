package producer

import (
	"fmt"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/producer/internal/assigned"
	"github.com/ackmark/ackmark/producer/internal/unit"
)

// Limits of one unit, the same by every way: what is larger fails with [CodeUnitTooLarge]. A
// sidecar has a limit in bytes besides, its maximum message size (4 MiB by default):
// MESSAGE_TOO_LARGE.
const (
	MaxUnitOutputs = wire.MaxUnitOutputs
	MaxUnitHeaders = wire.MaxUnitHeaders // of all its outputs together
)

// unfitUnit names the error of a unit that no way takes: it fails alone. Nil: it is within the
// limits.
func unfitUnit(outs []Record) *Error {
	var s unit.Sum
	for i := range outs {
		if err := s.Add((*unit.Record)(&outs[i])); err != nil {
			return (*Error)(err)
		}
	}
	return (*Error)(s.TooLarge())
}

// checkUnits validates all outputs, before any is taken, and weighs them.
func checkUnits(units []Unit) (c unit.Cost, err *Error) {
	for i := range units {
		outs := units[i].Outputs
		for j := range outs {
			rec := (*unit.Record)(&outs[j])
			if bad := rec.Invalid(); bad != nil {
				return unit.Cost{}, (*Error)(bad.In(i, j))
			}
			c.Bytes += rec.Bytes()
		}
		c.Records += len(outs)
	}
	return c, nil
}

// checkTopicIDs names an assignment of which a producer that commits could not keep what is done
// above its ack mark: after a death it would repeat.
func checkTopicIDs(added []Assignment) error {
	for i := range added {
		if a := &added[i]; a.TopicID == ([16]byte{}) {
			return invalidConfig(&ConfigError{Config: "producer.Assignment", Field: "TopicID", Value: fmt.Sprintf("zero for topic %q", a.Topic),
				Remedy: "exactly-once needs Kafka's id of the input topic (a Metadata request, or kadm.ListTopics, has it): set it"})
		}
	}
	return nil
}

func errClosed() *Error                        { return (*Error)(unit.Closed()) }
func errReleased(epoch uint64) *Error          { return (*Error)(unit.Released(epoch)) }
func errUnknownAssignment(epoch uint64) *Error { return (*Error)(unit.UnknownAssignment(epoch)) }

// assignments are those that this process holds.
type assignments struct {
	assigned.Table[Membership, Assignment]
}

// announce takes what Assign is told, and returns the assignments that are new. A consumer that has
// left its group has no membership any more.
func (a *assignments) announce(m Membership, added []Assignment) []Assignment {
	of := assigned.Member{Group: m.Group, Consumer: m.Consumer}
	return a.Assign(of, m, m.MemberID == "", added, func(p Assignment) uint64 { return p.Epoch })
}

// isMember tells whether that is the latest membership of a consumer.
func (a *assignments) isMember(group string, consumer uint64, id string) bool {
	m, known := a.Membership(assigned.Member{Group: group, Consumer: consumer})
	return known && m.MemberID == id
}
