package txn

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/groupcommit"
)

// errInPart is a transaction of which a part is committed: what no broker does.
var errInPart = errors.New("txn: the group's offsets say that a transaction was committed in part; another program commits for the group")

// resolve finds out from the offsets how a transaction ended that nobody has told of, for ever. Its
// id has been taken anew before, so nothing changes any more. Each window's offsets differ from
// those before it, as each of its units moves the ack mark or the done-set. Where no offset tells,
// because the topics are gone, have other owners by now, or may not be read any more, it counts as
// aborted: who is asked is not certain that it was committed. A group that does not answer is not
// waited for if another one tells.
func (o *offsets) resolve(ctx context.Context, parts []part, told ending) (committed bool, err error) {
	for {
		committed, err = o.tryResolve(ctx, parts, told)
		if err == nil || errors.Is(err, errInPart) || isSetup(err) {
			return committed, err
		}
		o.cfg.Log.Warn("a transaction's outcome cannot be read yet", "err", err)
		if !o.sleep(ctx, initPause) {
			return false, context.Cause(ctx)
		}
	}
}

func (o *offsets) tryResolve(ctx context.Context, parts []part, told ending) (bool, error) {
	var seen verdicts
	var missing error
	for i, got := range o.fetchAll(ctx, parts) {
		have := got.have
		if got.err != nil {
			if told == untold || !isForbidden(got.err) {
				missing = errors.Join(missing, got.err)
			}
			continue
		}
		for j, st := range parts[i].claims {
			pt := &parts[i].points[j]
			got, known := have[place{pt.Topic, pt.Partition}]
			if !known {
				continue // its topic is gone
			}
			st.of.mu.Lock()
			ours := st.state == held
			st.of.mu.Unlock()
			if got.Offset < 0 {
				continue // never committed, or gone with its topic
			}
			seen.add(ours, got.Offset == pt.Offset && got.Metadata == pt.Metadata)
		}
	}
	if missing != nil && seen.in+seen.out == 0 {
		return false, missing
	}
	return seen.committed()
}

type fetched struct {
	have map[place]groupcommit.Point
	err  error
}

// fetchAll reads what the groups of all parts have, at once. Where there are several, none is
// waited for much longer than for the others.
func (o *offsets) fetchAll(ctx context.Context, parts []part) []fetched {
	out := make([]fetched, len(parts))
	if len(parts) > 1 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, mostPatience)
		defer cancel()
	}
	var all sync.WaitGroup
	for i := range parts {
		all.Go(func() {
			out[i].have, out[i].err = o.fetchOffsets(ctx, &parts[i])
		})
	}
	all.Wait()
	return out
}

// verdicts count what the offsets say: of partitions that are still held, and of others, whose next
// owner may have gone on.
type verdicts struct{ in, out, othersIn int }

func (v *verdicts) add(held, match bool) {
	switch {
	case held && match:
		v.in++
	case held:
		v.out++
	case match:
		v.othersIn++
	}
}

func (v *verdicts) committed() (bool, error) {
	if v.in > 0 && v.out > 0 {
		return false, errInPart
	}
	if v.in+v.out > 0 {
		return v.in > 0, nil
	}
	return v.othersIn > 0, nil
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
