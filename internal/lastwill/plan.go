package lastwill

import (
	"cmp"
	"slices"

	"github.com/ackmark/ackmark/internal/donemeta"
	"github.com/ackmark/ackmark/internal/groupcommit"
)

// Standing is where an assignment of a dead process stands: the first offset that is not done, and
// what is done above it.
type Standing struct {
	Epoch     uint64 // of the assignment
	Topic     string
	TopicID   [16]byte // zero: the brokers tell none
	Partition int32
	Mark      int64
	Done      []donemeta.Run
}

func (s *Standing) of() Partition { return Partition{s.Topic, s.Partition} }

// Plan decides what to commit: never an offset below the one that is committed, never a done-set
// that says less, nothing that is there already. Of two assignments of a partition the later one
// speaks. One whose mark lags behind the committed offset (its sidecar did not see every input)
// still knows what is done above. A topic that was deleted, or created again under its name, is
// left out: its offsets are not those of the dead process (S11).
func Plan(standings []Standing, have Offsets) []groupcommit.Point {
	latest := make(map[Partition]Standing, len(standings))
	for _, s := range standings {
		if other, ok := latest[s.of()]; !ok || other.Epoch < s.Epoch {
			latest[s.of()] = s
		}
	}
	var plan []groupcommit.Point
	for key, s := range latest {
		if t, told := have.Topics[s.Topic]; told && (t.Gone || s.TopicID != ([16]byte{}) && t.ID != s.TopicID) {
			continue
		}
		c, known := have.Committed[key]
		if !known {
			c = Committed{Offset: -1, LeaderEpoch: -1}
		}
		if pt, more := s.over(c); more {
			plan = append(plan, pt)
		}
	}
	slices.SortFunc(plan, func(a, b groupcommit.Point) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return plan
}

// over joins a standing with what is committed, and tells whether that says more than the commit
// does. A will does not know the leader epoch of the record before the mark, and commits none. A
// set that does not fit is cut: what it then says must still be more, or the will would commit it
// again and again.
func (s Standing) over(c Committed) (groupcommit.Point, bool) {
	pt := groupcommit.Point{Topic: s.Topic, TopicID: s.TopicID, Partition: s.Partition, Offset: s.Mark, LeaderEpoch: -1}
	if s.TopicID == ([16]byte{}) { // a set could not be told from one of another topic of this name
		return pt, s.Mark > c.Offset
	}
	there, err := donemeta.Parse(c.Metadata, donemeta.Binding{TopicID: s.TopicID, Base: c.Offset, LeaderEpoch: c.LeaderEpoch}, nil)
	if err != nil {
		there = nil
	}
	pt.Offset = max(s.Mark, c.Offset)
	done := above(pt.Offset, unite(there, s.Done))
	for len(done) > 0 && done[0].First == pt.Offset {
		pt.Offset, done = done[0].Last+1, done[1:]
	}
	text, kept := donemeta.Append(nil, donemeta.Binding{TopicID: s.TopicID, Base: pt.Offset, LeaderEpoch: -1}, done)
	done = done[:kept]
	pt.Metadata = string(text)
	return pt, pt.Offset > c.Offset || count(done) > count(there)
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
