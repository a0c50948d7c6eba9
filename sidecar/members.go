package sidecar

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/ackmark/ackmark/internal/clusterid"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// memberKey names one consumer of the process in a group. Several may be members of one group, and
// each gets another member id now and then.
type memberKey struct {
	group    string
	consumer uint64
}

func (k memberKey) compare(other memberKey) int {
	return cmp.Or(cmp.Compare(k.group, other.group), cmp.Compare(k.consumer, other.consumer))
}

// membership is what a group knows a consumer of the process by.
type membership struct {
	memberKey
	member, instance string
	generation       int32
	cluster          string // that the group is in; "": not known
}

// size is what it takes of the session's share of memory.
func (m *membership) size() int64 {
	return int64(memberCost + len(m.group) + len(m.member) + len(m.instance) + len(m.cluster))
}

func membershipOf(a *sidecarpb.Assign) membership {
	return membership{memberKey{a.GetGroup(), a.GetConsumer()}, a.GetMemberId(), a.GetInstanceId(), a.GetGeneration(), a.GetClusterId()}
}

// enterMember takes over the membership of an Assign message, and tells whether its cluster is news. mu
// is held.
func (s *session) enterMember(m membership) (cluster bool, err error) {
	before, known := s.members[m.memberKey]
	switch {
	case m.member == "" && !s.holds(m.memberKey):
		if known {
			s.stock.kept.Give(before.size())
		}
		delete(s.members, m.memberKey) // it has left
		return false, nil
	case !known && len(s.members) == maxGroups:
		return false, fmt.Errorf("%w: more than %d memberships in one session", errViolation, maxGroups)
	}
	if !s.stock.kept.Take(m.size()) {
		return false, s.noRoom("a membership")
	}
	if known {
		s.stock.kept.Give(before.size())
	}
	s.members[m.memberKey] = m
	return before.cluster != m.cluster, nil
}

// holds tells whether a consumer has assignments that it did not release. mu is held.
func (a *assignments) holds(of memberKey) bool {
	for _, e := range a.epochs {
		if e.of == of && !e.released() {
			return true
		}
	}
	return false
}

// memberships in the order of their groups. mu is held.
func (a *assignments) memberships() []membership {
	keys := slices.SortedFunc(maps.Keys(a.members), memberKey.compare)
	all := make([]membership, len(keys))
	for i, k := range keys {
		all[i] = a.members[k]
	}
	return all
}

// otherClusterError is the reason why nobody can commit for a process: its group is not in the
// sidecar's cluster.
type otherClusterError struct{ group, theirs, ours string }

// Error implements error.
func (e *otherClusterError) Error() string {
	return fmt.Sprintf("group %q is in Kafka cluster %q, this sidecar delivers to %q: if the app dies, nobody commits for it, and its inputs since the last commit are done again",
		e.group, e.theirs, e.ours)
}

// sameCluster asks once more before a will acts on a membership: an Assign may have come before the
// brokers were reached.
func (w *wills) sameCluster(ctx context.Context, m membership) error {
	if m.cluster != "" && w.brokers.ClusterID() == "" {
		_ = w.brokers.Check(ctx)
	}
	return w.never(m)
}

// never tells why the sidecar cannot execute a will for a membership: nil, if it can as far as it
// knows.
func (w *wills) never(m membership) error {
	if ours := w.brokers.ClusterID(); clusterid.Differ(m.cluster, ours) {
		return &otherClusterError{m.group, m.cluster, ours}
	}
	return nil
}
