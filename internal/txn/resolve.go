package txn

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/donemeta"
	"github.com/ackmark/ackmark/internal/groupcommit"
)

// errInPart is a transaction of which a part is committed: what no broker does.
var errInPart = errors.New("txn: the group's offsets say that a transaction was committed in part; another program commits for the group")

// found is how a transaction ended, as offsets tell it.
type found struct {
	committed bool
	lost      []part // nothing tells what became of these: whoever takes them up anew sees it
	why       error  // they are lost
}

// resolve finds out from the offsets how a transaction ended that nobody has told of, for ever. Its
// id has been taken anew before, so nothing changes any more. Each window's offsets differ from
// those before it, as each of its units moves the ack mark or the done-set; and of a partition that
// is still held as it was nobody else can have committed: one such offset tells for all, and a
// group that does not answer is not waited for. Where a next owner may have gone on, its offset
// tells nothing, whatever it is: it may have done just what the transaction was to do.
//
// Where no offset tells, because the topics are gone or all have other owners by now, it counts as
// aborted: what is tried again of those is refused.
func (o *offsets) resolve(ctx context.Context, parts []part, told ending) (found, error) {
	for {
		f, err := conclude(parts, o.askAll(ctx, parts), told)
		if err == nil || isSetup(err) {
			return f, err
		}
		o.cfg.Log.Warn("a transaction's outcome cannot be read yet", "err", err)
		if !o.sleep(ctx, initPause) {
			return found{}, context.Cause(ctx)
		}
	}
}

// conclude is what the answers of all groups come to. An error: somebody has to be asked again.
func conclude(parts []part, said []answer, told ending) (found, error) {
	var seen verdicts
	var missing, refused error
	var unread []part
	for i := range parts {
		switch a := &said[i]; {
		case a.err == nil:
			missing = errors.Join(missing, seen.addAll(&parts[i], a))
		case parts[i].isOver(): // nothing of it can be committed again
		case isForbidden(a.err):
			unread, refused = append(unread, parts[i]), errors.Join(refused, a.err)
		default:
			missing = errors.Join(missing, a.err)
		}
	}
	switch {
	case seen.in > 0 && seen.out > 0:
		return found{lost: parts, why: errInPart}, nil
	case seen.in+seen.out > 0:
		return found{committed: seen.in > 0}, nil
	case missing != nil:
		return found{}, missing
	case told == untold && len(unread) > 0:
		return found{lost: unread, why: refused}, nil
	}
	return found{}, nil
}

// verdicts count what the partitions tell of which nobody else can have committed.
type verdicts struct{ in, out int }

// addAll counts those of a part. An error: one would tell, and it is not known yet who holds it.
func (v *verdicts) addAll(p *part, a *answer) error {
	var missing error
	for i, st := range p.claims {
		switch of := a.verdictOf(&p.points[i]); {
		case of == isOpen, a.holds[i] == notHeld:
		case a.holds[i] == unclearHold:
			missing = fmt.Errorf("topic %q partition %d: its consumer has not said under which generation it holds it now", st.Topic, st.Partition)
		case of == isIn:
			v.in++
		default:
			v.out++
		}
	}
	return missing
}

// askAll asks the groups of all parts what they have, and who holds it, at once. Where there are
// several, none is waited for much longer than for the others.
func (o *offsets) askAll(ctx context.Context, parts []part) []answer {
	out := make([]answer, len(parts))
	if len(parts) > 1 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, mostPatience)
		defer cancel()
	}
	var all sync.WaitGroup
	for i := range parts {
		all.Go(func() { out[i] = o.ask(ctx, &parts[i]) })
	}
	all.Wait()
	return out
}

// verdict is what the offset of a partition says of how a transaction ended.
type verdict uint8

const (
	isOpen verdict = iota // it tells nothing; or somebody else has gone on, from the one end or from the other
	isIn                  // it was committed
	isOut                 // it was not: who goes on from what it committed never has less
)

// verdictOf compares what a group has of a partition with what a transaction was to commit of it.
// As long as nobody else commits for the partition, the group has just that, or what it had before,
// which is less: a lower offset, or fewer that are done above the same one. Anything else comes of
// a next owner, of whom its former one may not have heard yet.
func verdictOf(planned, got *groupcommit.Point) verdict {
	switch {
	case got.Offset < planned.Offset:
		return isOut
	case got.Offset > planned.Offset:
		return isOpen
	case got.Metadata == planned.Metadata:
		return isIn
	}
	// Text that is no done-set, or another topic's, is none.
	had, _ := donemeta.ParseAt(got.Metadata, planned.TopicID, planned.Offset, nil)
	plan, _ := donemeta.ParseAt(planned.Metadata, planned.TopicID, planned.Offset, nil)
	more := slices.ContainsFunc(had, func(r donemeta.Run) bool { return !covers(plan, r) })
	if more || slices.Equal(had, plan) {
		return isOpen
	}
	return isOut
}

type place struct {
	topic     string
	partition int32
}

// fetchOffsets reads what a group has, of the topics that exist. Only stable offsets say anything:
// others may be of a transaction that has not ended.
func (o *offsets) fetchOffsets(ctx context.Context, p *part) (map[place]groupcommit.Point, error) {
	req := kmsg.NewPtrOffsetFetchRequest()
	req.RequireStable = true
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = p.holder.Group
	for _, places := range groupcommit.ByTopic(p.points) {
		t := kmsg.NewOffsetFetchRequestGroupTopic()
		t.Topic, t.TopicID = p.points[places[0]].Topic, p.points[places[0]].TopicID
		for _, i := range places {
			t.Partitions = append(t.Partitions, p.points[i].Partition)
		}
		g.Topics = append(g.Topics, t)
	}
	req.Groups = append(req.Groups, g)
	resp, err := req.RequestWith(ctx, o.plain)
	if err != nil {
		return nil, err
	}
	index, have := groupcommit.NewIndex(p.points), map[place]groupcommit.Point{}
	for _, g := range resp.Groups {
		if err := kerr.ErrorForCode(g.ErrorCode); err != nil {
			return nil, fmt.Errorf("group %q: %w", g.Group, err)
		}
		for _, t := range g.Topics {
			name := index.Topic(t.Topic, t.TopicID)
			for _, pp := range t.Partitions {
				switch err := kerr.ErrorForCode(pp.ErrorCode); {
				case errors.Is(err, kerr.UnknownTopicID), errors.Is(err, kerr.UnknownTopicOrPartition):
					continue
				case err != nil:
					return nil, fmt.Errorf("group %q, topic %q partition %d: %w", g.Group, name, pp.Partition, err)
				}
				pt := groupcommit.Point{Offset: pp.Offset}
				if pp.Metadata != nil {
					pt.Metadata = *pp.Metadata
				}
				have[place{name, pp.Partition}] = pt
			}
		}
	}
	return have, nil
}
