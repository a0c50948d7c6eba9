package assigned

import (
	"cmp"

	"github.com/ackmark/ackmark/internal/groupcommit"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// MemberKey names one consumer of the process in a group. Several may be members of one group, and
// each gets another member id now and then.
type MemberKey struct {
	Group    string
	Consumer uint64
}

func (k MemberKey) compare(other MemberKey) int {
	return cmp.Or(cmp.Compare(k.Group, other.Group), cmp.Compare(k.Consumer, other.Consumer))
}

// Membership is what a group knows a consumer of the process by.
type Membership struct {
	MemberKey
	ID, Instance string
	Generation   int32
	Protocol     groupcommit.Protocol
	Cluster      string // that the group is in; "": not known
}

// size is what it takes of the session's share of memory.
func (m *Membership) size() int64 {
	return int64(memberCost + len(m.Group) + len(m.ID) + len(m.Instance) + len(m.Cluster))
}

// MembershipOf is the one that an Assign message speaks of.
func MembershipOf(a *sidecarpb.Assign) Membership {
	protocol := groupcommit.Classic
	if a.GetProtocol() == sidecarpb.GroupProtocol_GROUP_PROTOCOL_CONSUMER {
		protocol = groupcommit.Consumer
	}
	return Membership{MemberKey{a.GetGroup(), a.GetConsumer()}, a.GetMemberId(), a.GetInstanceId(), a.GetGeneration(), protocol, a.GetClusterId()}
}
