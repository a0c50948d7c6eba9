package producer

import (
	"slices"
	"testing"
)

// Two consumers of one process may be members of one group: their memberships are kept apart, and
// each goes with its consumer.
func TestMembershipsOfOneGroup(t *testing.T) {
	var e epochs
	of := func(consumer uint64, member string) Membership {
		return Membership{Group: "g", MemberID: member, Consumer: consumer}
	}
	e.assign(of(1, "a"), []Assignment{{Epoch: 1}})
	e.assign(of(2, "b"), []Assignment{{Epoch: 2}, {Epoch: 3}})
	check := func(when string, want map[string][]uint64) {
		t.Helper()
		got := map[string][]uint64{}
		e.each(func(m Membership, live []Assignment) {
			got[m.MemberID] = nil
			for _, a := range live {
				got[m.MemberID] = append(got[m.MemberID], a.Epoch)
			}
		})
		if len(got) != len(want) {
			t.Errorf("%s: %v, want %v", when, got, want)
		}
		for member, list := range want {
			if live, ok := got[member]; !ok || !slices.Equal(live, list) {
				t.Errorf("%s: %v, want %v", when, got, want)
			}
		}
	}
	check("two of a group", map[string][]uint64{"a": {1}, "b": {2, 3}})
	e.assign(of(1, "c"), nil)
	check("one joined again", map[string][]uint64{"c": {1}, "b": {2, 3}})
	e.release([]uint64{2, 3})
	e.assign(of(2, ""), nil)
	check("one has left", map[string][]uint64{"c": {1}})
}
