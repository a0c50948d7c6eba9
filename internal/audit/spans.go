package audit

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// span is what a partition holds: from its first offset to before its end. from and until are where
// those times begin: start and end without.
type span struct{ start, end, from, until int64 }

// listSpans reads the ends first: what is asked for afterwards can only be more.
func listSpans(ctx context.Context, admin *kadm.Client, o *Options, topics []string, from, until time.Time) (map[string]map[int32]span, error) {
	ends, err := admin.ListCommittedOffsets(ctx, topics...)
	if o.ReadUncommitted {
		ends, err = admin.ListEndOffsets(ctx, topics...)
	}
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("list the ends of %s: %w", strings.Join(topics, ", "), err)
	}
	starts, err := admin.ListStartOffsets(ctx, topics...)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("list the starts of %s: %w", strings.Join(topics, ", "), err)
	}
	froms, err := offsetsAt(ctx, admin, from, topics)
	if err != nil {
		return nil, err
	}
	untils, err := offsetsAt(ctx, admin, until, topics)
	if err != nil {
		return nil, err
	}
	all := map[string]map[int32]span{}
	ends.Each(func(end kadm.ListedOffset) {
		if all[end.Topic] == nil {
			all[end.Topic] = map[int32]span{}
		}
		start, _ := starts.Lookup(end.Topic, end.Partition)
		s := span{start: start.Offset, end: end.Offset, from: start.Offset, until: end.Offset}
		// Where no record is as young as that, kadm says the end, which may have moved since.
		if at, ok := froms.Lookup(end.Topic, end.Partition); ok {
			s.from = min(at.Offset, s.end)
		}
		if at, ok := untils.Lookup(end.Topic, end.Partition); ok {
			s.until = min(at.Offset, s.end)
		}
		all[end.Topic][end.Partition] = s
	})
	return all, nil
}

func offsetsAt(ctx context.Context, admin *kadm.Client, t time.Time, topics []string) (kadm.ListedOffsets, error) {
	if t.IsZero() {
		return nil, nil
	}
	at, err := admin.ListOffsetsAfterMilli(ctx, t.UnixMilli(), topics...)
	if err == nil {
		err = at.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("list the offsets at %s of %s: %w", t.Format(time.RFC3339), strings.Join(topics, ", "), err)
	}
	return at, nil
}

func compareOutputs(a, b *output) int {
	return cmp.Or(strings.Compare(a.topic, b.topic), cmp.Compare(a.partition, b.partition))
}
