package sidecar

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

const (
	// laterGenerations is how many generations a process may have joined that it did not live to tell of. A cooperative rebalance takes two.
	laterGenerations = 4
	// leaderPatience is how long a will waits for the group's leader to share out the partitions. If the dead member was the leader nobody does, and the
	// group stands still until it is left.
	leaderPatience = time.Second
)

// commitLater commits as a member that the broker knows in a later generation: its process joined a rebalance and died before it could say so. A member
// that is dead joins no other one, so what the broker says of it stays true for as long as it is in the group. In a cooperative rebalance it keeps what it
// does not release itself; what another member has been given is theirs (S2).
//
// The broker tells a group's generation to who joins, and to nobody else: it is found by trying. A wrong one is refused.
func (w *will) commitLater(ctx context.Context, refused error) error {
	ctx, cancel := context.WithTimeout(ctx, leaderPatience)
	defer cancel()
	told := w.generation
	for {
		state, err := w.keepOwn(ctx)
		if err != nil {
			return errors.Join(fmt.Errorf("%w: %w", errMemberGone, err), refused)
		}
		last := told
		switch state {
		case "Stable":
			last = told + laterGenerations
		case "PreparingRebalance": // its members keep what the generation before gave them; that is the next one, or it would be Stable or left
			last = told + 1
		}
		for w.generation = told + 1; w.generation <= last; w.generation++ {
			err := w.commitAll(ctx)
			if err == nil {
				w.server.log.Info("a will commits in a generation that its process did not live to see", "group", w.group, "member", w.member,
					"generation", w.generation, "told", told)
				return nil
			}
			if !errors.Is(err, kerr.IllegalGeneration) {
				refused = err
				break
			}
		}
		select {
		case <-ctx.Done():
			w.generation = told
			return fmt.Errorf("%w: %w", errMemberGone, refused)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// keepOwn asks for the group, and takes out of the will what other members have been given. It returns the group's state.
func (w *will) keepOwn(ctx context.Context) (state string, err error) {
	groups, err := kadm.NewClient(w.server.client).DescribeGroups(ctx, w.group)
	if err != nil {
		return "", err
	}
	g := groups[w.group]
	if g.Err != nil {
		return "", g.Err
	}
	if !slices.ContainsFunc(g.Members, func(m kadm.DescribedGroupMember) bool { return m.MemberID == w.member }) {
		return "", kerr.UnknownMemberID
	}
	for _, m := range g.Members {
		given, ok := m.Assigned.AsConsumer()
		if !ok || m.MemberID == w.member {
			continue
		}
		for _, t := range given.Topics {
			w.stays = slices.DeleteFunc(w.stays, func(st stay) bool { return st.topic == t.Topic && slices.Contains(t.Partitions, st.partition) })
		}
	}
	return g.State, nil
}
