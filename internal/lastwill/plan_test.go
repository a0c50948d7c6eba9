package lastwill_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/ackmark/ackmark/internal/donemeta"
	"github.com/ackmark/ackmark/internal/groupcommit"
	"github.com/ackmark/ackmark/internal/lastwill"
)

var id = [16]byte{1}

// set is the metadata that says what is done above base.
func set(base int64, epoch int32, runs ...donemeta.Run) string {
	b, _ := donemeta.Append(nil, donemeta.Binding{TopicID: id, Base: base, LeaderEpoch: epoch}, runs)
	return string(b)
}

func at(epoch uint64, mark int64, done ...donemeta.Run) lastwill.Standing {
	return lastwill.Standing{Epoch: epoch, Topic: "t", TopicID: id, Mark: mark, Done: done}
}

func TestPlan(t *testing.T) {
	type committed = lastwill.Committed
	seven := donemeta.Run{First: 7, Last: 7}
	many := func(n int64) (runs []donemeta.Run) { // more than fits
		for i := range n {
			runs = append(runs, donemeta.Run{First: 7 + 2*i, Last: 7 + 2*i})
		}
		return runs
	}
	nameless := func(mark int64) lastwill.Standing {
		return lastwill.Standing{Epoch: 1, Topic: "t", Mark: mark, Done: []donemeta.Run{seven}}
	}
	same := lastwill.Topic{ID: id}
	for name, c := range map[string]struct {
		standings []lastwill.Standing
		topic     lastwill.Topic
		have      committed
		want      int64 // -1: nothing is committed
		set       string
	}{
		"first commit":                {[]lastwill.Standing{at(1, 5)}, same, committed{Offset: -1}, 5, ""},
		"further":                     {[]lastwill.Standing{at(1, 5, seven)}, same, committed{Offset: 3}, 5, set(5, -1, seven)},
		"there already":               {[]lastwill.Standing{at(1, 5)}, same, committed{Offset: 5}, -1, ""},
		"there with its set":          {[]lastwill.Standing{at(1, 5, seven)}, same, committed{5, 4, set(5, 4, seven)}, -1, ""},
		"there with a smaller set":    {[]lastwill.Standing{at(1, 5, seven)}, same, committed{5, 4, set(5, 4, donemeta.Run{First: 9, Last: 9})}, 5, set(5, -1, seven, donemeta.Run{First: 9, Last: 9})},
		"there with a larger set":     {[]lastwill.Standing{at(1, 5, seven)}, same, committed{5, 0, set(5, 0, donemeta.Run{First: 6, Last: 9})}, -1, ""},
		"there with foreign text":     {[]lastwill.Standing{at(1, 5, seven)}, same, committed{5, 0, "x"}, 5, set(5, -1, seven)},
		"the group is ahead":          {[]lastwill.Standing{at(1, 5, seven)}, same, committed{Offset: 8}, -1, ""},
		"ahead of the mark alone":     {[]lastwill.Standing{at(1, 5, seven)}, same, committed{Offset: 6}, 6, set(6, -1, seven)},
		"ahead up to what is done":    {[]lastwill.Standing{at(1, 5, seven)}, same, committed{Offset: 7}, 8, ""},
		"ahead, with the same set":    {[]lastwill.Standing{at(1, 5, seven)}, same, committed{6, 0, set(6, 0, seven)}, -1, ""},
		"further, and it knew more":   {[]lastwill.Standing{at(1, 5)}, same, committed{3, 0, set(3, 0, donemeta.Run{First: 4, Last: 4}, seven)}, 5, set(5, -1, seven)},
		"a set too large":             {[]lastwill.Standing{at(1, 5, many(20_000)...)}, same, committed{5, 0, set(5, 0, many(20_000)...)}, -1, ""},
		"two assignments":             {[]lastwill.Standing{at(9, 5), at(2, 8)}, same, committed{Offset: 3}, 5, ""},
		"no such topic any more":      {[]lastwill.Standing{at(1, 5)}, lastwill.Topic{Gone: true}, committed{Offset: -1}, -1, ""},
		"another topic of its name":   {[]lastwill.Standing{at(1, 5)}, lastwill.Topic{ID: [16]byte{2}}, committed{Offset: -1}, -1, ""},
		"old brokers, there already":  {[]lastwill.Standing{nameless(5)}, lastwill.Topic{}, committed{Offset: 5}, -1, ""},
		"old brokers have no sets":    {[]lastwill.Standing{nameless(6)}, lastwill.Topic{}, committed{Offset: 5}, 6, ""},
		"an id that the app had not":  {[]lastwill.Standing{nameless(6)}, same, committed{Offset: 5}, 6, ""},
		"no assignment, no statement": {nil, same, committed{Offset: 5}, -1, ""},
	} {
		have := lastwill.Offsets{
			Topics: map[string]lastwill.Topic{"t": c.topic}, Committed: map[lastwill.Partition]committed{{Topic: "t"}: c.have},
		}
		plan := lastwill.Plan(c.standings, have)
		switch {
		case c.want < 0 && len(plan) > 0:
			t.Errorf("%s: %+v, want nothing", name, plan)
		case c.want >= 0 && (len(plan) != 1 || plan[0].Offset != c.want || plan[0].Metadata != c.set || plan[0].LeaderEpoch != -1):
			t.Errorf("%s: %+v, want %d with %q", name, plan, c.want, c.set)
		}
	}
}

// What is not known of a topic is no reason to leave it out, and what a group has not committed is
// less than any mark.
func TestPlanKnowsNothing(t *testing.T) {
	if plan := lastwill.Plan([]lastwill.Standing{at(1, 0)}, lastwill.Offsets{}); len(plan) != 1 || plan[0].Offset != 0 {
		t.Errorf("%+v, want offset 0 to be committed", plan)
	}
}

// universe is how many offsets the model knows.
const universe = 24

// log is the naive model: which offsets of a partition are done.
type log [universe]bool

// mark is the first that is not.
func (l *log) mark() int64 {
	n := slices.Index(l[:], false)
	if n < 0 {
		return universe
	}
	return int64(n)
}

// runs are what is done above the mark.
func (l *log) runs() (runs []donemeta.Run) {
	for o := l.mark(); o < universe; o++ {
		if !l[o] {
			continue
		}
		if n := len(runs); n > 0 && runs[n-1].Last == o-1 {
			runs[n-1].Last = o
		} else {
			runs = append(runs, donemeta.Run{First: o, Last: o})
		}
	}
	return runs
}

func (l *log) with(other log) log {
	both := *l
	for o, done := range other {
		both[o] = both[o] || done
	}
	return both
}

// said is what a commit says.
func said(t *rapid.T, offset int64, epoch int32, metadata string) (l log) {
	for o := range offset {
		l[o] = true
	}
	if metadata == "" {
		return l
	}
	runs, err := donemeta.Parse(metadata, donemeta.Binding{TopicID: id, Base: offset, LeaderEpoch: epoch}, nil)
	if err != nil {
		t.Fatalf("metadata of offset %d: %v", offset, err)
	}
	for _, r := range runs {
		for o := r.First; o <= r.Last; o++ {
			l[o] = true
		}
	}
	return l
}

var logs = rapid.Custom(func(t *rapid.T) (l log) {
	for o := range rapid.IntRange(0, universe).Draw(t, "mark") {
		l[o] = true
	}
	for _, o := range rapid.SliceOfN(rapid.IntRange(0, universe-1), 0, 8).Draw(t, "done") {
		l[o] = true
	}
	return l
})

// A plan says what the group had and what the last assignment of the process has done, and not one
// input more. It says nothing where the group knew it all, and once it is carried out nothing is
// left to say.
func TestPlanAgainstSets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		have := lastwill.Offsets{Topics: map[string]lastwill.Topic{"t": {ID: id}}, Committed: map[lastwill.Partition]lastwill.Committed{}}
		var standings []lastwill.Standing
		var was, want []log
		for p := range rapid.Int32Range(1, 3).Draw(t, "partitions") {
			var group, left log
			if rapid.Bool().Draw(t, "committed") {
				group = logs.Draw(t, "group")
				epoch := rapid.Int32Range(-1, 2).Draw(t, "epoch")
				have.Committed[lastwill.Partition{Topic: "t", Index: p}] = lastwill.Committed{
					Offset: group.mark(), LeaderEpoch: epoch, Metadata: set(group.mark(), epoch, group.runs()...),
				}
			}
			epochs := rapid.SliceOfNDistinct(rapid.Uint64Range(1, 9), 0, 3, rapid.ID[uint64]).Draw(t, "assignments")
			for _, n := range epochs {
				l := logs.Draw(t, "left")
				standings = append(standings, lastwill.Standing{Epoch: n, Topic: "t", TopicID: id, Partition: p, Mark: l.mark(), Done: l.runs()})
				if n == slices.Max(epochs) {
					left = l
				}
			}
			was, want = append(was, group), append(want, group.with(left))
		}
		plan := lastwill.Plan(standings, have)
		if !slices.IsSortedFunc(plan, func(a, b groupcommit.Point) int { return int(a.Partition - b.Partition) }) {
			t.Errorf("%+v is not in order", plan)
		}
		for _, pt := range plan {
			if pt.Topic != "t" || pt.TopicID != id {
				t.Errorf("%+v is for another topic", pt)
			}
			got := said(t, pt.Offset, pt.LeaderEpoch, pt.Metadata)
			_, before := have.Committed[lastwill.Partition{Topic: "t", Index: pt.Partition}]
			if before && got == was[pt.Partition] {
				t.Errorf("%+v is there already", pt)
			}
			if got.mark() != pt.Offset {
				t.Errorf("%+v says less than it could: %d is done", pt, pt.Offset)
			}
			was[pt.Partition] = got
			have.Committed[lastwill.Partition{Topic: "t", Index: pt.Partition}] = lastwill.Committed{Offset: pt.Offset, LeaderEpoch: pt.LeaderEpoch, Metadata: pt.Metadata}
		}
		if !slices.Equal(was, want) {
			t.Errorf("the group has %v, want %v", was, want)
		}
		if again := lastwill.Plan(standings, have); len(again) > 0 {
			t.Errorf("%+v is planned again", again)
		}
	})
}
