package routes

import (
	"maps"
	"strconv"
	"strings"
	"testing"

	"github.com/ackmark/ackmark/internal/route"
)

// me is who may set all.
var me = Who{Known: true, UID: 7}

func open() *Table {
	t := new(Table)
	t.Restrict(7, nil)
	return t
}

// Which route holds: what was set before what is configured, an app's own before that of all apps,
// a topic's own before that of all topics.
func TestWhichRouteHolds(t *testing.T) {
	table := open()
	part := func(percent int) route.Route { return route.Route{Share: percent} }
	table.Configure(map[Key]route.Route{{"a", "t"}: part(1), {"a", "u"}: part(2), {"*", "u"}: part(3), {"*", "*"}: part(4), {"b", "*"}: part(5)})
	is := func(app string, want route.Routes) {
		t.Helper()
		if got := table.For(app); !maps.Equal(got, want) {
			t.Errorf("for %s: %v, want %v", app, got, want)
		}
	}
	is("a", route.Routes{"t": part(1), "u": part(2), "*": part(4)})
	is("b", route.Routes{"*": part(5)})
	is("c", route.Routes{"u": part(3), "*": part(4)})
	if err := table.Set(me, Key{"a", "t"}, part(50)); err != nil {
		t.Fatal(err)
	}
	is("a", route.Routes{"t": part(50), "u": part(2), "*": part(4)})
	table.Configure(map[Key]route.Route{{"a", "t"}: part(7)})
	is("a", route.Routes{"t": part(50)})
	if st := table.Status(); len(st) != 1 || st[0].GetConfigured() || st[0].GetSidecarPercent() != 50 {
		t.Errorf("status: %v", st)
	}
	if err := table.Forget(me, Key{"a", "t"}); err != nil {
		t.Fatal(err)
	}
	is("a", route.Routes{"t": part(7)})
}

func TestRoutesAreBounded(t *testing.T) {
	table := open()
	table.Configure(map[Key]route.Route{{"a", "t"}: {}})
	for i := range route.MaxRoutes - 1 {
		if err := table.Set(me, Key{"a", "t" + strconv.Itoa(i)}, route.Route{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := table.Set(me, Key{"a", "one-more"}, route.Route{}); err == nil {
		t.Error("one more than the limit is taken")
	}
	if err := table.Set(me, Key{"a", "t0"}, route.Route{Share: 1}); err != nil {
		t.Errorf("a change takes no place: %v", err)
	}
	for _, share := range []int{-1, 101, 1 << 31} {
		if table.Set(me, Key{"a", "t0"}, route.Route{Share: share}) == nil {
			t.Errorf("%d percent are taken", share)
		}
	}
	for _, k := range []Key{{"", "t"}, {"a", ""}, {"a b", "t"}, {"a", "t/u"}, {strings.Repeat("a", 129), "t"}, {"a", strings.Repeat("t", 250)}} {
		if table.Set(me, k, route.Route{}) == nil || table.Forget(me, k) == nil {
			t.Errorf("%q is taken", k)
		}
	}
}
