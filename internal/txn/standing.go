package txn

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/ackmark/ackmark/internal/donemeta"
	"github.com/ackmark/ackmark/internal/groupcommit"
)

// Place is where an assignment goes on: its partition, and the offset below which all is done as
// far as its process knows.
type Place struct {
	Topic     string
	TopicID   [16]byte
	Partition int32
	Offset    int64
}

// Standing asks what a group has of assignments whose units may be committed and not reported,
// until it is answered, or refused for what no time mends: for each place, the runs of offsets at
// or above it that are. Whoever could still commit for them has to be fenced, or given up, before.
func (l *Lane) Standing(ctx context.Context, group string, places []Place) ([][]donemeta.Run, error) {
	p := part{holder: Holder{Group: group}}
	for _, at := range places {
		p.points = append(p.points, groupcommit.Point{Topic: at.Topic, TopicID: at.TopicID, Partition: at.Partition})
	}
	for first := true; ; first = false {
		have, err := l.offsets.fetchOffsets(ctx, &p)
		if err == nil {
			return standing(places, have), nil
		}
		if isSetup(err) {
			return nil, l.cfg.setupError(l.cfg.ID, err)
		}
		if ke, isKafka := errors.AsType[*kerr.Error](err); isKafka && !ke.Retriable {
			return nil, err
		}
		if first && !errors.Is(err, context.Canceled) {
			l.cfg.Log.Warn("what a group has cannot be read yet", "group", group, "err", err)
		}
		if !l.sleep(ctx, initPause/10) {
			return nil, errors.Join(context.Cause(ctx), context.Cause(l.ctx))
		}
	}
}

func standing(places []Place, have map[place]groupcommit.Point) [][]donemeta.Run {
	out := make([][]donemeta.Run, len(places))
	for i, at := range places {
		got, known := have[place{at.Topic, at.Partition}]
		if !known {
			continue
		}
		if got.Offset > at.Offset {
			out[i] = append(out[i], donemeta.Run{First: at.Offset, Last: got.Offset - 1})
		}
		runs, err := donemeta.ParseAt(got.Metadata, at.TopicID, got.Offset, nil)
		if err == nil { // text that is no done-set, or another topic's, says nothing
			out[i] = append(out[i], runs...)
		}
	}
	return out
}
