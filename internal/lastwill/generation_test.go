package lastwill_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/ackmark/ackmark/internal/lastwill"
)

// An app that dies amid a rebalance has joined a generation that its sidecar does not know. Its
// will finds that generation, and commits what no other member has been given. It does so only for
// the dead, and does not wait for a leader that is dead itself.
func TestALaterGeneration(t *testing.T) {
	other := lastwill.Member{ID: "other", Given: map[string][]int32{"t": {1}, "u": {0}}}
	for name, c := range map[string]struct {
		group  func(g *group)
		living bool

		want       [2]int64
		tries      []int32 // nil: not looked at
		superseded error
		within     time.Duration
	}{
		"the one it was told of": {group: func(*group) {}, want: [2]int64{5, 7}, tries: []int32{3}},
		"the next one":           {group: func(g *group) { g.generation = 4 }, want: [2]int64{5, 7}, tries: []int32{3, 4}},
		"two later, another member has one": {
			group: func(g *group) { g.generation, g.members = 5, append(g.members, other) },
			want:  [2]int64{5, none}, tries: []int32{3, 4, 5},
		},
		"two later, others have all": {
			group: func(g *group) {
				g.generation = 5
				g.members = append(g.members, lastwill.Member{ID: "other", Given: map[string][]int32{"t": {0, 1}}})
			},
			want: [2]int64{none, none}, tries: []int32{3},
		},
		"what the dead member itself was given": {
			group: func(g *group) { g.generation, g.members[0].Given = 4, map[string][]int32{"t": {0}} },
			want:  [2]int64{5, 7}, tries: []int32{3, 4},
		},
		"four later": {group: func(g *group) { g.generation = 7 }, want: [2]int64{5, 7}, tries: []int32{3, 4, 5, 6, 7}},
		"five later": {
			group: func(g *group) { g.generation = 8 },
			want:  [2]int64{none, none}, superseded: kerr.IllegalGeneration, within: time.Second,
		},
		"another rebalance has begun": {
			group: func(g *group) { g.generation, g.state = 4, "PreparingRebalance" },
			want:  [2]int64{5, 7}, tries: []int32{3, 4},
		},
		"another rebalance has begun, further": {
			group: func(g *group) { g.generation, g.state = 5, "PreparingRebalance" },
			want:  [2]int64{none, none}, superseded: kerr.IllegalGeneration, within: time.Second,
		},
		"the leader shares out in time": {
			group: func(g *group) {
				g.generation, g.state = 4, "CompletingRebalance"
				g.script["describe"] = append(times(4, fails(nil)), happens(func() { g.state = "Stable" }))
			},
			want: [2]int64{5, 7}, tries: []int32{3, 4}, within: 100 * time.Millisecond,
		},
		"the leader is dead": {
			group: func(g *group) { g.generation, g.state = 4, "CompletingRebalance" },
			want:  [2]int64{none, none}, tries: []int32{3}, superseded: kerr.IllegalGeneration, within: time.Second,
		},
		"the broker took it out": {
			group: func(g *group) {
				g.generation = 4
				g.script["describe"] = []func() error{happens(func() { g.members = nil })}
			},
			want: [2]int64{none, none}, tries: []int32{3}, superseded: kerr.UnknownMemberID,
		},
		"it is taken out while it is tried": {
			group: func(g *group) {
				g.generation = 5
				g.script["commit"] = []func() error{fails(nil), fails(nil), happens(func() { g.members = nil })}
			},
			want: [2]int64{none, none}, tries: []int32{3, 4, 5}, superseded: kerr.UnknownMemberID, within: time.Second,
		},
		"the connection breaks": {
			group: func(g *group) { g.generation, g.script["describe"] = 4, times(2, fails(io.EOF)) },
			want:  [2]int64{5, 7}, tries: []int32{3, 4}, within: 200 * time.Millisecond,
		},
		"nobody may describe the group": {
			group: func(g *group) {
				g.generation, g.script["describe"] = 4, times(1, fails(kerr.GroupAuthorizationFailed))
			},
			want: [2]int64{none, none}, tries: []int32{3}, superseded: kerr.GroupAuthorizationFailed,
		},
		"its death is a guess": {
			group: func(g *group) { g.generation = 4 }, living: true,
			want: [2]int64{none, none}, tries: []int32{3}, superseded: kerr.IllegalGeneration,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g, w := newGroup(), will()
			c.group(g)
			w.Proven = !c.living
			var did lastwill.Result
			took := inTime(t, func(ctx context.Context) { did = w.Execute(ctx, g) })
			if got := g.has(); got != c.want {
				t.Errorf("committed %v, want %v", got, c.want)
			}
			if c.tries != nil && !slices.Equal(g.tries, c.tries) {
				t.Errorf("tried the generations %v, want %v", g.tries, c.tries)
			}
			if !errors.Is(did.Superseded, c.superseded) || (did.Superseded == nil) != (c.superseded == nil) {
				t.Errorf("superseded by %v, want %v", did.Superseded, c.superseded)
			}
			if did.Err != nil || !did.Left || g.knows("m") {
				t.Errorf("%+v; want the group left in any case", did)
			}
			if c.living && g.count("describe") > 0 {
				t.Error("the group of a process that may live was searched")
			}
			if took > c.within {
				t.Errorf("it took %v, at most %v were expected", took, c.within)
			}
		})
	}
}
