package lastwill_test

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/groupcommit"
	"github.com/ackmark/ackmark/internal/lastwill"
)

// group is a scripted coordinator of group "g": what it has, and what happens at which request.
type group struct {
	generation int32
	state      string
	members    []lastwill.Member
	topics     map[string]lastwill.Topic
	committed  map[lastwill.Partition]lastwill.Committed

	// script is what happens before a request of this kind is served, in order: an error is its
	// answer.
	script map[string][]func() error
	// always is what happens before every request of this kind.
	always map[string]func() error

	asked  []string // kinds of requests, in order
	epochs bool     // it is of the consumer protocol
	tries  []int32  // the generations of commits
	static []string // the instance ids of commits
}

// newGroup has member "m" in generation 3, and has committed nothing of partitions 0 and 1 of topic
// "t".
func newGroup() *group {
	return &group{
		generation: 3, state: "Stable", members: []lastwill.Member{{ID: "m"}}, topics: map[string]lastwill.Topic{"t": {ID: id}},
		committed: map[lastwill.Partition]lastwill.Committed{}, script: map[string][]func() error{}, always: map[string]func() error{},
	}
}

var _ lastwill.Coordinator = (*group)(nil)

func (g *group) ask(kind string) error {
	g.asked = append(g.asked, kind)
	if f := g.always[kind]; f != nil {
		if err := f(); err != nil {
			return err
		}
	}
	next := g.script[kind]
	if len(next) == 0 {
		return nil
	}
	g.script[kind] = next[1:]
	return next[0]()
}

func (g *group) count(kind string) (n int) {
	for _, k := range g.asked {
		if k == kind {
			n++
		}
	}
	return n
}

func (g *group) knows(member string) bool {
	return slices.ContainsFunc(g.members, func(m lastwill.Member) bool { return m.ID == member })
}

func (g *group) Offsets(context.Context, string, []lastwill.Partition) (lastwill.Offsets, error) {
	if err := g.ask("offsets"); err != nil {
		return lastwill.Offsets{}, err
	}
	return lastwill.Offsets{Topics: maps.Clone(g.topics), Committed: maps.Clone(g.committed)}, nil
}

func (g *group) Describe(context.Context, string) (lastwill.Group, error) {
	if err := g.ask("describe"); err != nil {
		return lastwill.Group{}, err
	}
	return lastwill.Group{State: g.state, Members: slices.Clone(g.members), Epochs: g.epochs}, nil
}

// Commit answers every partition alike, as a broker does that refuses the membership. An error of
// the script that is a broker's is such an answer, another one is the connection's.
func (g *group) Commit(req *kmsg.OffsetCommitRequest) (*kmsg.OffsetCommitResponse, error) {
	err := g.ask("commit")
	ke, broker := err.(*kerr.Error) //nolint:errorlint // of the script
	if err != nil && !broker {
		return nil, err
	}
	g.tries = append(g.tries, req.Generation)
	if req.InstanceID != nil {
		g.static = append(g.static, *req.InstanceID)
	}
	switch {
	case ke != nil:
	case !g.knows(req.MemberID):
		ke = kerr.UnknownMemberID
	case g.generation != req.Generation && g.epochs:
		ke = kerr.StaleMemberEpoch
	case g.generation != req.Generation:
		ke = kerr.IllegalGeneration
	}
	resp := kmsg.NewPtrOffsetCommitResponse()
	for _, t := range req.Topics {
		rt := kmsg.NewOffsetCommitResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rp := kmsg.NewOffsetCommitResponseTopicPartition()
			rp.Partition = p.Partition
			if ke != nil {
				rp.ErrorCode = ke.Code
			} else {
				g.committed[lastwill.Partition{Topic: t.Topic, Index: p.Partition}] = lastwill.Committed{Offset: p.Offset, LeaderEpoch: p.LeaderEpoch, Metadata: *p.Metadata}
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp, nil
}

func (g *group) Leave(m groupcommit.Member) error {
	member := m.MemberID
	if err := g.ask("leave"); err != nil {
		return err
	}
	switch {
	case !g.knows(member):
		return kerr.UnknownMemberID
	case g.epochs && m.InstanceID != "":
		g.generation = -2 // until its successor comes
		return nil
	}
	g.members = slices.DeleteFunc(g.members, func(m lastwill.Member) bool { return m.ID == member })
	return nil
}

// has returns what is committed of partitions 0 and 1; −1 is nothing.
func (g *group) has() [2]int64 {
	have := [2]int64{-1, -1}
	for p, c := range g.committed {
		have[p.Index] = c.Offset
	}
	return have
}

// rewind is a commit of the dead process that comes late.
func (g *group) rewind(partition int32, to int64) func() error {
	return func() error {
		g.committed[lastwill.Partition{Topic: "t", Index: partition}] = lastwill.Committed{Offset: to, LeaderEpoch: -1}
		return nil
	}
}

func fails(err error) func() error { return func() error { return err } }

func happens(f func()) func() error {
	return func() error {
		f()
		return nil
	}
}

func times(n int, f func() error) []func() error { return slices.Repeat([]func() error{f}, n) }

// will is of a member that was told of generation 3, with partition 0 done below 5 and partition 1
// below 7.
func will() *lastwill.Will {
	one := at(2, 7)
	one.Partition = 1
	return &lastwill.Will{
		Member:    groupcommit.Member{Group: "g", MemberID: "m", Generation: 3},
		Standings: []lastwill.Standing{at(1, 5), one}, Log: slog.New(slog.DiscardHandler),
	}
}

// inTime runs f in virtual time, with a context that ends after a minute. It returns how long f
// took.
func inTime(t *testing.T, f func(ctx context.Context)) (took time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begun := time.Now()
		f(ctx)
		took = time.Since(begun)
	})
	return took
}
