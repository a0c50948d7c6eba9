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
// The broker tells a classic group's generation to who joins, and to nobody else: it is found by
// trying. A wrong one is refused. Of a group of the consumer protocol it tells each member's epoch,
// which only the member's own heartbeats move; the same holds for the classic members of such a
// group.
func (e *execution) commitLater(ctx context.Context, refused error) error {
	ctx, cancel := context.WithTimeout(ctx, leaderPatience)
	defer cancel()
	told := e.member.Generation
	for {
		first, last, err := e.keepOwn(ctx, told)
		if err != nil {
			return errors.Join(fmt.Errorf("%w: %w", errMemberGone, err), refused)
		}
		for e.member.Generation = first; e.member.Generation <= last; e.member.Generation++ {
			err := e.commitAll(ctx)
			if err == nil {
				e.log.Info("a will commits in a generation that its process did not live to see", "generation", e.member.Generation, "told", told)
				return nil
			}
			if !refusedByEpoch(err) {
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

// refusedByEpoch tells that the broker refused a commit for its generation or epoch alone.
func refusedByEpoch(err error) bool {
	return errors.Is(err, kerr.IllegalGeneration) || errors.Is(err, kerr.StaleMemberEpoch)
}

// keepOwn asks for the group, and takes out of the will what other members have been given. It
// returns the generations to try: none, while the group is not settled.
func (e *execution) keepOwn(ctx context.Context, told int32) (first, last int32, err error) {
	var g Group
	err = retry(ctx, func() (err error) {
		g, err = e.to.Describe(ctx, e.member.Group)
		return err
	})
	if err != nil {
		return 0, 0, err
	}
	own := slices.IndexFunc(g.Members, func(m Member) bool { return m.ID == e.member.MemberID })
	if own < 0 {
		return 0, 0, kerr.UnknownMemberID
	}
	for i := range g.Members {
		if i != own {
			e.standings = slices.DeleteFunc(e.standings, func(s Standing) bool { return g.Members[i].has(&s) })
		}
	}
	switch {
	case g.Epochs:
		return g.Members[own].Epoch, g.Members[own].Epoch, nil
	case g.State == "Stable":
		return told + 1, told + laterGenerations, nil
	case g.State == "PreparingRebalance":
		// Its members keep what the generation before gave them; that is the next one, or it would
		// be Stable or left.
		return told + 1, told + 1, nil
	}
	return told + 1, told, nil
}
