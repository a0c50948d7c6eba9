package txn

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/ackmark/ackmark/internal/donemeta"
	"github.com/ackmark/ackmark/internal/groupcommit"
)

// inputsOfModel is how many inputs a partition of the model has. What of them is done is a bit
// each.
const inputsOfModel = 6

// pointsOfModel are the offsets that say what is done, by its bits.
var pointsOfModel = func() (all [1 << inputsOfModel]groupcommit.Point) {
	for bits := range all {
		pt := groupcommit.Point{TopicID: [16]byte{1}}
		var runs []donemeta.Run
		for i := int64(inputsOfModel - 1); i >= 0; i-- {
			if bits>>i&1 == 0 {
				pt.Offset = i
			}
		}
		if bits == len(all)-1 {
			pt.Offset = inputsOfModel
		}
		for i := pt.Offset; i < inputsOfModel; i++ {
			if bits>>i&1 == 1 {
				runs = append(runs, donemeta.Run{First: i, Last: i})
			}
		}
		text, _ := donemeta.Append(nil, donemeta.Binding{TopicID: pt.TopicID, Base: pt.Offset, LeaderEpoch: -1}, runs)
		pt.Metadata = string(text)
		all[bits] = pt
	}
	return all
}()

// clusterOfModel is what brokers know of one transaction and of the groups that it has offsets of,
// and what our side has heard of it.
type clusterOfModel struct {
	*rand.Rand
	committed bool
	told      ending
	parts     []part
	groups    []*groupOfModel
}

type groupOfModel struct {
	generation int32
	member     bool // ours is one of it
	others     bool // has other members
	err        error
	inputs     []inputOfModel
}

type inputOfModel struct {
	has    int  // what the group has as done; -1: no offset
	given  bool // to somebody else, since
	exists bool // its topic does
	plan   int
}

func (c *clusterOfModel) chance(percent int) bool { return c.IntN(100) < percent }

// newClusterOfModel has a transaction that ended in either way, and then whatever can happen.
func newClusterOfModel(seed uint64) *clusterOfModel {
	c := &clusterOfModel{Rand: rand.New(rand.NewPCG(seed, 1))}
	c.committed = c.chance(50)
	if !c.committed && c.chance(30) {
		c.told = wasOpen
	}
	for n := range 1 + c.IntN(3) {
		g := &groupOfModel{generation: 5, member: true, others: c.chance(50)}
		of := Holder{Group: fmt.Sprint("group ", n)}
		claims := NewClaims(nil)
		claims.members[of] = &groupcommit.Member{Group: of.Group, MemberID: "ours", Generation: 5}
		p := part{holder: of}
		for i := range 1 + c.IntN(3) {
			st := &Claim{Topic: "in", Partition: int32(i), of: claims, holder: of}
			in := inputOfModel{has: c.IntN(1<<inputsOfModel - 1), exists: true}
			in.plan = in.has
			for in.plan == in.has {
				in.plan |= c.IntN(1 << inputsOfModel)
			}
			switch {
			case c.committed:
				in.has = in.plan
			case c.chance(5):
				in.has = -1
			}
			pt := pointsOfModel[in.plan]
			pt.Topic, pt.Partition = st.Topic, st.Partition
			p.claims, p.points, g.inputs = append(p.claims, st), append(p.points, pt), append(g.inputs, in)
		}
		c.parts, c.groups = append(c.parts, p), append(c.groups, g)
		for range c.IntN(5) {
			c.happens(n)
		}
		switch {
		case c.chance(20):
			g.err = kerr.CoordinatorNotAvailable
		case c.chance(5):
			g.err = kerr.GroupAuthorizationFailed
		}
	}
	return c
}

// happens has something happen to a group. What a consumer does is heard of here in its order, or
// not yet.
func (c *clusterOfModel) happens(n int) {
	g, p := c.groups[n], &c.parts[n]
	at := c.IntN(len(g.inputs))
	in, st := &g.inputs[at], p.claims[at]
	m := st.of.members[st.holder]
	switch c.IntN(7) {
	case 0: // a rebalance, by which nothing moves
		if g.generation++; g.member && c.chance(50) {
			c.tell(n)
		}
	case 1: // the partition moves
		if !in.given && g.member && c.chance(60) {
			c.release(st)
		}
		g.generation++
		in.given, g.others = true, true
		if g.member && st.state != held && c.chance(50) {
			c.tell(n)
		}
	case 2: // it is about to
		c.release(st)
	case 3: // the member is gone
		g.member = false
		g.generation++
		for i := range g.inputs {
			g.inputs[i].given = true
		}
		if c.chance(30) {
			for _, st := range p.claims {
				st.state = abandoned
			}
		}
	case 4: // the next owner goes on, often to the same place
		switch {
		case !in.given || !g.others:
		case c.chance(50):
			in.has = max(in.has, 0) | in.plan
		default:
			in.has = max(in.has, 0) | c.IntN(1<<inputsOfModel)
		}
	case 5: // somebody sets the offset, or deletes it: of an empty group only
		if !g.member && !g.others {
			in.has = c.IntN(1<<inputsOfModel+1) - 1
		}
	case 6:
		switch {
		case c.chance(20):
			in.exists = false
		case c.chance(20):
			st.state = abandoned
		case m.Generation < g.generation && c.chance(50):
			c.tell(n)
		}
	}
}

// tell has our side hear of the group's generation, and before that of what went with it.
func (c *clusterOfModel) tell(n int) {
	g, p := c.groups[n], &c.parts[n]
	if !g.member {
		return
	}
	for i, st := range p.claims {
		if g.inputs[i].given {
			c.release(st)
		}
	}
	st := p.claims[0]
	st.of.members[st.holder] = &groupcommit.Member{Group: st.holder.Group, MemberID: "ours", Generation: g.generation}
}

func (c *clusterOfModel) release(st *Claim) {
	if st.state == held {
		st.state, st.under = released, *st.of.members[st.holder]
	}
}

// answer is what a group says.
func (c *clusterOfModel) answer(n int) answer {
	g, p := c.groups[n], &c.parts[n]
	return p.ask(func() (map[place]groupcommit.Point, error) {
		have := map[place]groupcommit.Point{}
		for i, in := range g.inputs {
			pt := groupcommit.Point{Offset: -1}
			if in.has >= 0 {
				pt = pointsOfModel[in.has]
			}
			if in.exists {
				have[place{p.points[i].Topic, p.points[i].Partition}] = pt
			}
		}
		return have, g.err
	}, func(m groupcommit.Member, _ *groupcommit.Point) error {
		switch {
		case !g.member:
			return kerr.UnknownMemberID
		case m.Generation != g.generation:
			return kerr.IllegalGeneration
		}
		return nil
	})
}

// isOurs tells that what is tried again of a claim will be committed: nobody else has had it.
func (c *clusterOfModel) isOurs(n, i int) bool {
	g, st := c.groups[n], c.parts[n].claims[i]
	return g.member && g.inputs[i].exists && !g.inputs[i].given && (st.state == held || st.state == released && st.under.Generation == g.generation)
}

// conclude asks until somebody tells, while things get well.
func (c *clusterOfModel) conclude() (f found, tries int, err error) {
	for ; tries < 3; tries++ {
		said := make([]answer, len(c.parts))
		for n := range c.parts {
			said[n] = c.answer(n)
		}
		if f, err = conclude(c.parts, said, c.told); err == nil {
			return f, tries, nil
		}
		for n, g := range c.groups {
			if tries > 0 && errors.Is(g.err, kerr.CoordinatorNotAvailable) {
				g.err = nil
			}
			c.tell(n)
		}
	}
	return f, tries, err
}

// tells tells that somebody's offset decides at once.
func (c *clusterOfModel) tells() bool {
	for n, g := range c.groups {
		st := c.parts[n].claims
		for i, in := range g.inputs {
			if g.err == nil && in.has >= 0 && c.isOurs(n, i) && st[i].member().Generation == g.generation {
				return true
			}
		}
	}
	return false
}

// Whatever happens to groups while nobody knows how a transaction ended (rebalances that are heard
// of or not, next owners who do just the same, offsets that are set or deleted, groups that are
// away or may not be read), it is not taken for committed if it was aborted, which would lose
// inputs; nor for aborted while what is tried again of it would be committed a second time. And one
// offset that tells is enough.
func TestOutcomesOfAModel(t *testing.T) {
	const cases = 10_000
	var committed, again, waited, given int
	for seed := range uint64(cases) {
		c := newClusterOfModel(seed)
		tells := c.tells()
		f, tries, err := c.conclude()
		if err != nil {
			t.Fatalf("case %d: it is asked for ever: %v", seed, err)
		}
		if tells && tries > 0 {
			t.Fatalf("case %d: an offset tells, and it is asked again", seed)
		}
		if f.committed && !c.committed {
			t.Fatalf("case %d: an aborted transaction is taken for committed", seed)
		}
		if len(f.lost) > 0 && errors.Is(f.why, errInPart) {
			t.Fatalf("case %d: it was committed in part", seed)
		}
		lost := map[*Claim]bool{}
		for _, p := range f.lost {
			for _, st := range p.claims {
				lost[st] = true
			}
		}
		for n := range c.parts {
			for i, st := range c.parts[n].claims {
				if !f.committed && c.committed && !lost[st] && c.isOurs(n, i) {
					t.Fatalf("case %d: a committed transaction is taken for aborted, and group %d commits its partition %d again", seed, n, i)
				}
			}
		}
		switch {
		case len(f.lost) > 0:
			given++
		case f.committed:
			committed++
		default:
			again++
		}
		if tries > 0 {
			waited++
		}
	}
	t.Logf("%d committed, %d tried again, %d given up, %d waited for", committed, again, given, waited)
	if min(committed, again, given, waited) < cases/1000 {
		t.Errorf("%d committed, %d tried again, %d given up, %d waited for: the model has become too simple", committed, again, given, waited)
	}
}
