package txn

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/groupcommit"
)

// answer is what a group says of a part.
type answer struct {
	have  map[place]groupcommit.Point
	holds []hold // of its claims
	err   error  // it says nothing
}

// verdictOf is what it says of a partition.
func (a *answer) verdictOf(planned *groupcommit.Point) verdict {
	got, known := a.have[place{planned.Topic, planned.Partition}]
	if !known || got.Offset < 0 { // its topic is gone; or it was never committed, or is gone with its topic
		return isOpen
	}
	return verdictOf(planned, &got)
}

// hold is whether somebody else can have committed for a claim since it was planned for.
type hold uint8

const (
	notHeld     hold = iota // somebody can; what its former owner sends is refused
	unclearHold             // its consumer may hold it on, under a generation that it has not said yet
	stillHeld               // nobody can: its membership is the group's, as it was
)

// isOver tells that nothing of a part can be committed any more.
func (p *part) isOver() bool {
	for _, st := range p.claims {
		if !st.isAbandoned() {
			return false
		}
	}
	return true
}

// ask asks a group what it has, and after that whether its members are those that we know.
func (o *offsets) ask(ctx context.Context, p *part) answer {
	return p.ask(func() (map[place]groupcommit.Point, error) { return o.fetchOffsets(ctx, p) },
		func(m groupcommit.Member, of *groupcommit.Point) error { return o.askMember(ctx, m, of) })
}

// ask is the answer of a group that is asked like that. A member leaves a generation behind before
// somebody else has what it gives away. So one that is of that generation when its offsets were
// read has given none of them away. That finds out who has lost a partition and does not know it,
// because his process was stopped or cannot be reached.
func (p *part) ask(fetch func() (map[place]groupcommit.Point, error), askMember func(groupcommit.Member, *groupcommit.Point) error) answer {
	a := answer{holds: make([]hold, len(p.claims))}
	members, states := make([]groupcommit.Member, len(p.claims)), make([]claimState, len(p.claims))
	for i, st := range p.claims {
		st.of.mu.Lock()
		members[i], states[i] = st.member(), st.state
		st.of.mu.Unlock()
	}
	if a.have, a.err = fetch(); a.err != nil {
		return a
	}
	said := map[groupcommit.Member]error{}
	for i, m := range members {
		if states[i] == abandoned || a.verdictOf(&p.points[i]) == isOpen {
			continue
		}
		why, asked := said[m]
		if !asked {
			why = askMember(m, &p.points[i])
			said[m] = why
		}
		switch b := blameOffsets(why); {
		case why == nil:
			a.holds[i] = stillHeld
		case b == ofStale && states[i] == held:
			a.holds[i] = unclearHold
		case b != ofStale && b != ofMember:
			a.err = why
		}
	}
	return a
}

// askMember asks a group whether a membership is as it was. Of a classic group nothing but a
// heartbeat tells: the member lives on by it for one session more, which is never added to, since
// an outcome that can be told by it is not asked for again.
func (o *offsets) askMember(ctx context.Context, m groupcommit.Member, one *groupcommit.Point) error {
	if !m.Valid() {
		return kerr.IllegalGeneration
	}
	if m.Protocol == groupcommit.Consumer {
		return o.askEpoch(ctx, m, one)
	}
	req := kmsg.NewPtrHeartbeatRequest()
	req.Group, req.MemberID, req.Generation = m.Group, m.MemberID, m.Generation
	if m.InstanceID != "" {
		req.InstanceID = &m.InstanceID
	}
	resp, err := req.RequestWith(ctx, o.plain)
	if err != nil {
		return err
	}
	err = kerr.ErrorForCode(resp.ErrorCode)
	if errors.Is(err, kerr.RebalanceInProgress) { // of the next generation, which has not begun
		return nil
	}
	return err
}

// askEpoch does so in a group of the consumer protocol, which looks at the member's epoch where
// somebody asks for offsets in its name.
func (o *offsets) askEpoch(ctx context.Context, m groupcommit.Member, one *groupcommit.Point) error {
	req := kmsg.NewPtrOffsetFetchRequest()
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group, g.MemberID, g.MemberEpoch = m.Group, &m.MemberID, m.Generation
	t := kmsg.NewOffsetFetchRequestGroupTopic()
	t.Topic, t.TopicID, t.Partitions = one.Topic, one.TopicID, []int32{one.Partition}
	g.Topics = append(g.Topics, t)
	req.Groups = append(req.Groups, g)
	resp, err := req.RequestWith(ctx, o.plain)
	switch {
	case err != nil:
		return err
	case len(resp.Groups) != 1:
		return errNoAnswer
	}
	return kerr.ErrorForCode(resp.Groups[0].ErrorCode)
}
