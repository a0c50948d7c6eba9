package sidecar

import (
	"context"
	"fmt"

	"github.com/ackmark/ackmark/internal/clusterid"
	"github.com/ackmark/ackmark/sidecar/internal/assigned"
)

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
func (w *wills) sameCluster(ctx context.Context, m assigned.Membership) error {
	if m.Cluster != "" && w.brokers.ClusterID() == "" {
		_ = w.brokers.Check(ctx)
	}
	return w.noWill(m)
}

// noWill tells why the sidecar cannot execute a will for a membership: nil, if it can as far as it
// knows.
func (w *wills) noWill(m assigned.Membership) error {
	if ours := w.brokers.ClusterID(); clusterid.Differ(m.Cluster, ours) {
		return &otherClusterError{m.Group, m.Cluster, ours}
	}
	return nil
}
