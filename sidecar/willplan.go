package sidecar

import (
	"cmp"
	"slices"

	"github.com/ackmark/ackmark/internal/donemeta"
)

// stay is what a dead process leaves of one partition: the first offset that is not done, and what is done above it.
type stay struct {
	epoch     uint64
	topic     string
	topicID   [16]byte
	partition int32
	mark      int64
	done      []donemeta.Run
}

// committed is what the group has for a partition; offset -1: nothing.
type committed struct {
	offset      int64
	leaderEpoch int32
	metadata    string
}

// partitionKey names a partition in a group's offsets.
type partitionKey struct {
	topic     string
	partition int32
}

// bequest is a commit that a will makes.
type bequest struct {
	stay
	metadata string
}

// planWill decides what to commit: never an offset below the one that is committed, never a done-set that says less, nothing that is there
// already. Of two stays of a partition the later one speaks.
func planWill(stays []stay, have map[partitionKey]committed) []bequest {
	latest := make(map[partitionKey]stay, len(stays))
	for _, st := range stays {
		key := partitionKey{st.topic, st.partition}
		if other, ok := latest[key]; !ok || other.epoch < st.epoch {
			latest[key] = st
		}
	}
	var plan []bequest
	for key, st := range latest {
		c, known := have[key]
		if !known || st.mark < c.offset {
			continue
		}
		if st.mark == c.offset {
			there, err := donemeta.Parse(c.metadata, donemeta.Binding{TopicID: st.topicID, Base: c.offset, LeaderEpoch: c.leaderEpoch}, nil)
			if err != nil {
				there = nil
			}
			all := unite(there, st.done)
			if slices.Equal(all, unite(there, nil)) {
				continue
			}
			st.done = all
		}
		plan = append(plan, bequest{st, setOf(st)})
	}
	slices.SortFunc(plan, func(a, b bequest) int {
		return cmp.Or(cmp.Compare(a.topic, b.topic), cmp.Compare(a.partition, b.partition))
	})
	return plan
}

// setOf writes a stay's done-set. A will does not know the leader epoch of the record before the mark, and commits none.
func setOf(st stay) string {
	if st.topicID == ([16]byte{}) {
		return ""
	}
	text, _ := donemeta.Append(nil, donemeta.Binding{TopicID: st.topicID, Base: st.mark, LeaderEpoch: -1}, st.done)
	return string(text)
}

// unite returns the runs of both, joined where they touch.
func unite(a, b []donemeta.Run) []donemeta.Run {
	all := slices.Concat(a, b)
	slices.SortFunc(all, func(x, y donemeta.Run) int { return cmp.Compare(x.First, y.First) })
	var out []donemeta.Run
	for _, r := range all {
		if n := len(out); n > 0 && r.First <= out[n-1].Last+1 {
			out[n-1].Last = max(out[n-1].Last, r.Last)
		} else {
			out = append(out, r)
		}
	}
	return out
}
