package routes

import (
	"errors"
	"slices"
	"testing"

	"github.com/ackmark/ackmark/internal/route"
	"github.com/ackmark/ackmark/sidecar/internal/apps"
)

// Who may set which route. Nothing that is asked for gets by a list: a star that is asked for is
// all of them, not a prefix, and who is not known is nobody, whatever user it would be.
func TestWhoMaySetWhat(t *testing.T) {
	user := func(uid uint32) Who { return Who{Known: true, UID: uid} }
	team := []Setter{{UIDs: []uint32{1000}, Apps: []string{"billing", "team-*"}, Topics: []string{"in*", "out"}}, {UIDs: []uint32{0, 2000}}, {UIDs: []uint32{1000}, Apps: []string{"lone"}}}
	for name, x := range map[string]struct {
		list  []Setter
		by    Who
		key   Key
		allow bool
	}{
		"own user":                        {nil, user(7), Key{"*", "*"}, true},
		"root":                            {nil, user(0), Key{"*", "*"}, true},
		"another user":                    {nil, user(1000), Key{"a", "t"}, false},
		"root that is not known":          {nil, Who{}, Key{"a", "t"}, false},
		"nobody is named":                 {[]Setter{}, user(0), Key{"a", "t"}, false},
		"own user, not named":             {team, user(7), Key{"billing", "out"}, false},
		"named, all":                      {team, user(2000), Key{"*", "*"}, true},
		"an app of a list":                {team, user(1000), Key{"billing", "out"}, true},
		"an app of a prefix":              {team, user(1000), Key{"team-a", "invoices"}, true},
		"another app":                     {team, user(1000), Key{"billing2", "out"}, false},
		"another topic":                   {team, user(1000), Key{"billing", "out2"}, false},
		"all topics, some allowed":        {team, user(1000), Key{"billing", "*"}, false},
		"all apps, some allowed":          {team, user(1000), Key{"*", "out"}, false},
		"an app of one, a topic of other": {team, user(1000), Key{"lone", "any"}, true},
		"the prefix itself, as a name":    {team, user(1000), Key{"team-*", "out"}, false},
		"the list's all":                  {[]Setter{{Apps: []string{"*"}, Topics: []string{"t", "*"}}}, user(7), Key{"*", "*"}, true},
		"own user, of some apps":          {[]Setter{{Apps: []string{"a"}}}, user(7), Key{"b", "t"}, false},
	} {
		table := new(Table)
		table.Restrict(7, x.list)
		for what, err := range map[string]error{"set": table.Set(x.by, x.key, route.Route{}), "forget": table.Forget(x.by, x.key)} {
			_, forbidden := errors.AsType[*ForbiddenError](err)
			if forbidden == x.allow && x.key.Check() == nil || x.allow && err != nil || !x.allow && err == nil {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
		if got := len(table.Status()); got != 0 {
			t.Errorf("%s: %d routes", name, got)
		}
	}
	if err := new(Table).Set(me, Key{"a", "t"}, route.Route{}); err == nil {
		t.Error("a table of which nobody was told sets routes")
	}
}

// What was set and could not be set any more is forgotten, and nothing else.
func TestRestrictForgets(t *testing.T) {
	list := []apps.Entry{{Name: "a", Topics: []string{"t*"}}, {Name: "b"}}
	as := apps.New(apps.Config{List: list})
	table := open()
	table.Apps = as
	through, direct := route.Route{Share: 10}, route.Route{}
	root := Who{Known: true}
	for k, by := range map[Key]Who{{"a", "t1"}: me, {"a", "t2"}: root, {"b", "x"}: me, {"*", "*"}: me} {
		if err := table.Set(by, k, through); err != nil {
			t.Fatal(k, err)
		}
	}
	if err := table.Set(me, Key{"a", "other"}, direct); err != nil {
		t.Error("a topic that goes directly needs no right of the sidecar's:", err)
	}
	for _, k := range []Key{{"c", "t"}, {"c", "*"}, {"a", "other"}, {"a", "x"}} {
		if err := table.Set(me, k, through); err == nil {
			t.Errorf("%v is taken", k)
		}
	}
	as.Replace([]apps.Entry{{Name: "a", Topics: []string{"t2", "t3"}}}, 1<<20, 1000)
	if gone := table.Restrict(7, []Setter{{}}); !slices.Equal(gone, []Key{{"a", "t1"}, {"b", "x"}}) {
		t.Errorf("forgotten with the list: %v", gone)
	}
	if gone := table.Restrict(7, []Setter{{UIDs: []uint32{0}}}); !slices.Equal(gone, []Key{{"*", "*"}, {"a", "other"}}) {
		t.Errorf("forgotten with the right: %v", gone)
	}
	if left := table.Status(); len(left) != 1 || left[0].GetTopic() != "t2" {
		t.Errorf("left: %v", left)
	}
}
