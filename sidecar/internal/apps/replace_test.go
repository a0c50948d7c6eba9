package apps

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"

	"github.com/ackmark/ackmark/sidecar/internal/peer"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

func newApps(list ...Entry) *Apps {
	return New(Config{List: list, Bytes: 1 << 20, Records: 1000, EmitBytes: 1 << 20, EmitRecords: 1000, Ring: 100, Reports: 1000, Log: slog.New(slog.DiscardHandler)})
}

// Who may do less, or has another token, has lost something; who may do as much or more has not.
func TestWhoLosesByANewList(t *testing.T) {
	for name, x := range map[string]struct {
		was, is Entry
		lost    bool
	}{
		"the same":             {Entry{Topics: []string{"a", "b*"}}, Entry{Topics: []string{"b*", "a"}}, false},
		"all, and a list":      {Entry{}, Entry{Topics: []string{"a"}}, true},
		"all, and all":         {Entry{}, Entry{Topics: []string{"*"}}, false},
		"a list, and all":      {Entry{Topics: []string{"a"}}, Entry{}, false},
		"a prefix covers":      {Entry{Topics: []string{"ab", "abc*"}}, Entry{Topics: []string{"a*"}}, false},
		"a name is no prefix":  {Entry{Topics: []string{"a*"}}, Entry{Topics: []string{"a"}}, true},
		"a longer prefix":      {Entry{Groups: []string{"a*"}}, Entry{Groups: []string{"ab*"}}, true},
		"one group less":       {Entry{Groups: []string{"a", "b"}}, Entry{Groups: []string{"a"}}, true},
		"a token":              {Entry{}, Entry{Token: "t"}, true},
		"another token":        {Entry{Token: "s"}, Entry{Token: "t"}, true},
		"no token any more":    {Entry{Token: "s"}, Entry{}, true},
		"the same token still": {Entry{Token: "s"}, Entry{Token: "s"}, false},
	} {
		x.was.Name, x.is.Name = "app", "app"
		as := newApps(x.was)
		a, err := as.Get("app", x.was.Token)
		if err != nil {
			t.Fatal(name, err)
		}
		if lost := as.Replace([]Entry{x.is}, 1<<20, 1000); slices.Contains(lost, a) != x.lost {
			t.Errorf("%s: lost %d", name, len(lost))
		}
	}
	as := newApps()
	open, err := as.Get("whoever", "")
	if err != nil {
		t.Fatal(err)
	}
	if lost := as.Replace([]Entry{{Name: "app"}}, 1, 1); !slices.Contains(lost, open) {
		t.Error("an app that the first list leaves out lost nothing")
	}
	if _, err := as.Get("whoever", ""); err == nil {
		t.Error("it is served")
	}
	as.Replace(nil, 1, 1)
	if again, err := as.Get("whoever", ""); err != nil || again != open {
		t.Errorf("without a list whoever comes is served, and finds what is his: %v", err)
	}
}

// Reports of all apps together stay under their bound, however often the list is replaced, and
// those that an app has are still there when it is in the list again.
func TestReportsOverManyLists(t *testing.T) {
	as := newApps(Entry{Name: "a0"})
	fill := func(a *App) (n int) {
		for {
			id, ok := a.Ring.Reserve(peer.Info{})
			if !ok {
				return n
			}
			a.Ring.Finish(&sidecarpb.EmitReport{ReportId: id})
			n++
		}
	}
	kept := map[*App]int64{}
	total := func() (sum int64) {
		for a := range kept {
			kept[a] = a.Ring.Places().Held()
			sum += kept[a]
		}
		return sum
	}
	for i := range 40 {
		a, err := as.Get(fmt.Sprintf("a%d", i), "")
		if err != nil {
			t.Fatal(err)
		}
		fill(a)
		kept[a] = 0
		a.Leave()
		as.Replace([]Entry{{Name: fmt.Sprintf("a%d", i+1)}}, 1<<20, 1000)
		if n := total(); n > 1000 {
			t.Fatalf("%d reports are kept after %d lists, 1000 may be", n, i+1)
		}
	}
	as.Replace([]Entry{{Name: "a0"}}, 1<<20, 1000)
	a, err := as.Get("a0", "")
	if err != nil || a.Ring.Places().Held() == 0 {
		t.Errorf("its reports are gone: %v", err)
	}
}
