package lastwill_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/ackmark/ackmark/internal/groupcommit"
	"github.com/ackmark/ackmark/internal/lastwill"
)

// newEpochs is a group of the consumer protocol, which has the member in epoch 3.
func newEpochs() *group {
	g := newGroup()
	g.epochs, g.members[0].Epoch = true, 3
	return g
}

// inEpoch has the coordinator know the member in another epoch than its process has told.
func (g *group) inEpoch(n int32) { g.generation, g.members[0].Epoch = n, n }

// A group of the consumer protocol tells the epoch of each member: a will whose process died before
// it could tell its last one does not guess.
func TestALaterEpoch(t *testing.T) {
	for name, c := range map[string]struct {
		group      func(g *group)
		living     bool
		want       [2]int64
		tries      []int32
		superseded error
	}{
		"the one it was told of": {group: func(*group) {}, want: [2]int64{5, 7}, tries: []int32{3}},
		"one later":              {group: func(g *group) { g.inEpoch(4) }, want: [2]int64{5, 7}, tries: []int32{3, 4}},
		"many later":             {group: func(g *group) { g.inEpoch(40) }, want: [2]int64{5, 7}, tries: []int32{3, 40}},
		"amid a reconciliation": {
			group: func(g *group) { g.inEpoch(4); g.state = "Reconciling" }, want: [2]int64{5, 7}, tries: []int32{3, 4},
		},
		"another member has one, by its topic's id": {
			group: func(g *group) {
				g.inEpoch(4)
				g.members = append(g.members, lastwill.Member{ID: "other", Epoch: 6, GivenIDs: map[[16]byte][]int32{id: {1}}})
			},
			want: [2]int64{5, none}, tries: []int32{3, 4},
		},
		"another member has one, by its topic's name": {
			group: func(g *group) {
				g.inEpoch(4)
				g.members = append(g.members, lastwill.Member{ID: "other", Epoch: 6, Given: map[string][]int32{"t": {0}}})
			},
			want: [2]int64{none, 7}, tries: []int32{3, 4},
		},
		"a topic of that name was there before": {
			group: func(g *group) {
				g.inEpoch(4)
				g.members = append(g.members, lastwill.Member{ID: "other", Epoch: 6, GivenIDs: map[[16]byte][]int32{{9}: {0, 1}}})
			},
			want: [2]int64{5, 7}, tries: []int32{3, 4},
		},
		"it is expelled while it is looked up": {
			group: func(g *group) {
				g.inEpoch(4)
				g.script["describe"] = []func() error{happens(func() { g.members = nil })}
			},
			want: [2]int64{none, none}, tries: []int32{3}, superseded: kerr.UnknownMemberID,
		},
		"its death is a guess": {
			group: func(g *group) { g.inEpoch(4) }, living: true,
			want: [2]int64{none, none}, tries: []int32{3}, superseded: kerr.StaleMemberEpoch,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g, w := newEpochs(), will()
			w.Member.Protocol, w.Proven = groupcommit.Consumer, !c.living
			c.group(g)
			var did lastwill.Result
			took := inTime(t, func(ctx context.Context) { did = w.Execute(ctx, g) })
			if got := g.has(); got != c.want {
				t.Errorf("committed %v, want %v", got, c.want)
			}
			if !slices.Equal(g.tries, c.tries) {
				t.Errorf("tried the epochs %v, want %v", g.tries, c.tries)
			}
			if !errors.Is(did.Superseded, c.superseded) || (did.Superseded == nil) != (c.superseded == nil) {
				t.Errorf("superseded by %v, want %v", did.Superseded, c.superseded)
			}
			if did.Err != nil || !did.Left || g.knows("m") || took > 0 {
				t.Errorf("%+v after %v; want the group left at once, in any case", did, took)
			}
		})
	}
}

// A static member of the consumer protocol leaves for now: as long as it does not, its successor is
// refused. What its process had on its way until then is repaired under the epoch that it left
// with.
func TestAStaticMemberLeavesForNow(t *testing.T) {
	for name, c := range map[string]struct {
		will  func(w *lastwill.Will)
		group func(g *group)
		want  [2]int64
		asked []string
		tries []int32
		left  bool
	}{
		"nothing came late": {
			want: [2]int64{5, 7}, asked: []string{"offsets", "commit", "offsets", "leave", "offsets"}, tries: []int32{3}, left: true,
		},
		"a commit came before the leave": {
			group: func(g *group) { g.script["leave"] = []func() error{g.rewind(1, 2)} },
			want:  [2]int64{5, 7}, asked: []string{"offsets", "commit", "offsets", "leave", "offsets", "commit", "offsets"}, tries: []int32{3, -2}, left: true,
		},
		"its successor was there first": {
			group: func(g *group) {
				g.script["leave"] = []func() error{g.rewind(1, 2)}
				g.script["offsets"] = []func() error{fails(nil), fails(nil), happens(func() { g.members = []lastwill.Member{{ID: "successor"}} })}
			},
			want: [2]int64{5, 2}, asked: []string{"offsets", "commit", "offsets", "leave", "offsets", "commit"}, tries: []int32{3, -2}, left: true,
		},
		"a successor has its id already": {
			group: func(g *group) { g.script["leave"] = times(1, fails(kerr.FencedInstanceID)) },
			want:  [2]int64{5, 7}, asked: []string{"offsets", "commit", "offsets", "leave", "offsets"}, tries: []int32{3}, left: true,
		},
		"it held nothing": {
			will: func(w *lastwill.Will) { w.Standings = nil },
			want: [2]int64{none, none}, asked: []string{"leave"}, left: true,
		},
		"units are still on their way": {
			will: func(w *lastwill.Will) { w.Remain = true },
			want: [2]int64{5, 7}, asked: []string{"offsets", "commit", "offsets"}, tries: []int32{3},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g, w := newEpochs(), will()
			w.Member.Protocol, w.Member.InstanceID, w.Proven = groupcommit.Consumer, "i", true
			if c.will != nil {
				c.will(w)
			}
			if c.group != nil {
				c.group(g)
			}
			var did lastwill.Result
			took := inTime(t, func(ctx context.Context) { did = w.Execute(ctx, g) })
			if got := g.has(); got != c.want {
				t.Errorf("committed %v, want %v", got, c.want)
			}
			if !slices.Equal(g.asked, c.asked) || !slices.Equal(g.tries, c.tries) {
				t.Errorf("asked %v under %v, want %v under %v", g.asked, g.tries, c.asked, c.tries)
			}
			if did.Err != nil || did.Left != c.left || took > time.Second {
				t.Errorf("%+v after %v, want left: %v", did, took, c.left)
			}
		})
	}
}
