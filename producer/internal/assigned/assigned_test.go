package assigned_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/ackmark/ackmark/producer/internal/assigned"
)

type table = assigned.Table[string, uint64]

func itself(epoch uint64) uint64 { return epoch }

// Two consumers of one process may be members of one group: their memberships are kept apart, and
// each goes with its consumer.
func TestMembershipsOfOneGroup(t *testing.T) {
	var e table
	one, two := assigned.Member{Group: "g", Consumer: 1}, assigned.Member{Group: "g", Consumer: 2}
	e.Assign(one, "a", false, []uint64{1}, itself)
	e.Assign(two, "b", false, []uint64{3, 2}, itself)
	check := func(when string, want map[string][]uint64) {
		t.Helper()
		got := map[string][]uint64{}
		e.Each(func(m string, live []uint64) { got[m] = live })
		if !maps.EqualFunc(got, want, slices.Equal) {
			t.Errorf("%s: %v, want %v", when, got, want)
		}
	}
	check("two of a group", map[string][]uint64{"a": {1}, "b": {2, 3}})
	e.Assign(one, "c", false, nil, itself)
	check("one joined again", map[string][]uint64{"c": {1}, "b": {2, 3}})
	e.Release([]uint64{2, 3})
	e.Assign(two, "", true, nil, itself)
	check("one has left", map[string][]uint64{"c": {1}})
	e.ReleaseAll()
	check("all are released", map[string][]uint64{})
}

// An epoch is announced once, and released once; what was never announced is neither live nor
// released. Zero is no epoch: a unit without an input may always be sent.
func TestEpochs(t *testing.T) {
	var e table
	of := assigned.Member{Group: "g"}
	if fresh := e.Assign(of, "m", false, []uint64{0, 1, 3, 3}, itself); !slices.Equal(fresh, []uint64{1, 3}) {
		t.Errorf("new are %v", fresh)
	}
	if fresh := e.Assign(of, "m", false, []uint64{3, 4}, itself); !slices.Equal(fresh, []uint64{4}) {
		t.Errorf("new are %v, 3 was announced before", fresh)
	}
	if gone := e.Release([]uint64{0, 3, 3, 9}); !slices.Equal(gone, []uint64{3}) {
		t.Errorf("released are %v", gone)
	}
	for epoch, want := range map[uint64]struct{ live, released bool }{0: {live: true}, 1: {live: true}, 3: {released: true}, 4: {live: true}, 9: {}} {
		if live, released := e.IsLive(epoch), e.WasReleased(epoch); live != want.live || released != want.released {
			t.Errorf("epoch %d: live %v, released %v", epoch, live, released)
		}
	}
}
