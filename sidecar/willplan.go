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
// already. Of two stays of a partition the later one speaks. One whose mark lags behind the committed offset (its sidecar did not see every input) still knows
// what is done above.
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
		if !known {
			continue
		}
		if b, more := st.over(c); more {
			plan = append(plan, b)
		}
	}
	slices.SortFunc(plan, func(a, b bequest) int {
		return cmp.Or(cmp.Compare(a.topic, b.topic), cmp.Compare(a.partition, b.partition))
	})
	return plan
}

// over joins a stay with what is committed, and tells whether that says more than the commit does. A will does not know the leader epoch of the record before
// the mark, and commits none. A set that does not fit is cut: what it then says must still be more, or the will would commit it again and again.
func (st stay) over(c committed) (bequest, bool) {
	if st.topicID == ([16]byte{}) { // old brokers: a set could not be told from one of another topic of this name
		return bequest{stay: st}, st.mark > c.offset
	}
	there, err := donemeta.Parse(c.metadata, donemeta.Binding{TopicID: st.topicID, Base: c.offset, LeaderEpoch: c.leaderEpoch}, nil)
	if err != nil {
		there = nil
	}
	st.mark = max(st.mark, c.offset)
	st.done = above(st.mark, unite(there, st.done))
	for len(st.done) > 0 && st.done[0].First == st.mark {
		st.mark, st.done = st.done[0].Last+1, st.done[1:]
	}
	text, kept := donemeta.Append(nil, donemeta.Binding{TopicID: st.topicID, Base: st.mark, LeaderEpoch: -1}, st.done)
	st.done = st.done[:kept]
	return bequest{st, string(text)}, st.mark > c.offset || count(st.done) > count(there)
}

func count(runs []donemeta.Run) (n int64) {
	for _, r := range runs {
		n += r.Last - r.First + 1
	}
	return n
}

// above cuts sorted runs to what lies at or above an offset.
func above(offset int64, runs []donemeta.Run) []donemeta.Run {
	var out []donemeta.Run
	for _, r := range runs {
		if r.Last >= offset {
			out = append(out, donemeta.Run{First: max(r.First, offset), Last: r.Last})
		}
	}
	return out
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
