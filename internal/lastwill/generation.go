package lastwill

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

const (
	// laterGenerations is how many generations a process may have joined that it did not live to
	// tell of. A cooperative rebalance takes two.
	laterGenerations = 4
	// leaderPatience is how long a will waits for the group's leader to share out the partitions.
	// If the dead member was the leader nobody does, and the group stands still until it is left.
	leaderPatience = time.Second
	// askEvery is how often it looks meanwhile.
	askEvery = 20 * time.Millisecond
)

// commitLater commits as a member that the broker knows in a later generation: its process joined a
// rebalance and died before it could say so. A member that is dead joins no other one, so what the
// broker says of it stays true for as long as it is in the group. In a cooperative rebalance it
// keeps what it does not release itself; what another member has been given is theirs (S2).
//
// The broker tells a group's generation to who joins, and to nobody else: it is found by trying. A
// wrong one is refused.
func (e *execution) commitLater(ctx context.Context, refused error) error {
	ctx, cancel := context.WithTimeout(ctx, leaderPatience)
	defer cancel()
	told := e.member.Generation
	for {
		state, err := e.keepOwn(ctx)
		if err != nil {
			return errors.Join(fmt.Errorf("%w: %w", errMemberGone, err), refused)
		}
		last := told
		switch state {
		case "Stable":
			last = told + laterGenerations
		case "PreparingRebalance":
			// Its members keep what the generation before gave them; that is the next one, or it
			// would be Stable or left.
			last = told + 1
		}
		for e.member.Generation = told + 1; e.member.Generation <= last; e.member.Generation++ {
			err := e.commitAll(ctx)
			if err == nil {
				e.log.Info("a will commits in a generation that its process did not live to see", "generation", e.member.Generation, "told", told)
				return nil
			}
			if !errors.Is(err, kerr.IllegalGeneration) {
				if ctx.Err() == nil { // the end of our patience is not the broker's word
					refused = err
				}
				break
			}
		}
		select {
		case <-ctx.Done():
			e.member.Generation = told
			return fmt.Errorf("%w: %w", errMemberGone, refused)
		case <-time.After(askEvery):
		}
	}
}

// keepOwn asks for the group, and takes out of the will what other members have been given. It
// returns the group's state.
func (e *execution) keepOwn(ctx context.Context) (state string, err error) {
	var g Group
	err = retry(ctx, func() (err error) {
		g, err = e.to.Describe(ctx, e.member.Group)
		return err
	})
	if err != nil {
		return "", err
	}
	if !slices.ContainsFunc(g.Members, func(m Member) bool { return m.ID == e.member.MemberID }) {
		return "", kerr.UnknownMemberID
	}
	for _, m := range g.Members {
		if m.ID == e.member.MemberID {
			continue
		}
		e.standings = slices.DeleteFunc(e.standings, func(s Standing) bool { return slices.Contains(m.Given[s.Topic], s.Partition) })
	}
	return g.State, nil
}
