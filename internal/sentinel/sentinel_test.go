package sentinel_test

import (
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ackmark/ackmark/internal/sentinel"
)

func TestRules(t *testing.T) {
	for name, broken := range map[string]bool{
		"a commit at the first open input": sentinel.IsBeyond(7, 7), "a commit below it": sentinel.IsBeyond(6, 7),
		"the first place of a key": sentinel.IsInverted(0, 0), "the next place": sentinel.IsInverted(5, 5), "the same place again": sentinel.IsInverted(4, 5),
		"no session is closed": sentinel.IsClosed(0, 1), "a living one had it, too": sentinel.IsClosed(1, 1), "nobody had it": sentinel.IsClosed(0, 0),
		"all are accounted for": sentinel.Passed{All: 15, HandedOut: 1, DoneBefore: 2, NoInput: 3, HeldBack: 4, GivenUp: 5}.Skipped() != 0,
	} {
		if broken {
			t.Errorf("%s breaks a rule", name)
		}
	}
	for name, broken := range map[string]bool{
		"a commit one above": sentinel.IsBeyond(8, 7), "a place before the highest": sentinel.IsInverted(3, 5), "only a closed one had it": sentinel.IsClosed(2, 0),
		"one is missing": sentinel.Passed{All: 2, HandedOut: 1}.Skipped() == 1,
	} {
		if !broken {
			t.Errorf("%s breaks no rule", name)
		}
	}
}

// Every breach is counted, and a storm of them is one line in ten seconds: of each kind.
func TestAStormIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		w := sentinel.NewWatch(slog.New(slog.NewTextHandler(&log, nil)))
		for range 1000 {
			w.Found(sentinel.OrderInverted, "topic", "orders", "index", 7)
		}
		w.Found(sentinel.ClosedAdmitted)
		lines := strings.Count(log.String(), "\n")
		time.Sleep(10 * time.Second)
		w.Found(sentinel.OrderInverted, "topic", "orders", "index", 8)
		if more := strings.Count(log.String(), "\n"); lines != 2 || more != 3 {
			t.Errorf("%d lines, then %d:\n%s", lines, more, &log)
		}
		if c := w.Counts(); c.OrderInverted != 1001 || c.ClosedAdmitted != 1 || c.Sum() != 1002 || c.Plus(c).OrderInverted != 2002 {
			t.Errorf("%+v", c)
		}
		if !strings.Contains(log.String(), "sentinel=order_inverted found=1001 topic=orders index=8") {
			t.Errorf("the line lacks what is known:\n%s", &log)
		}
	})
}

func TestKindsHaveNames(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range sentinel.Kinds {
		if seen[k.String()] || k.String() == "" {
			t.Errorf("%d is called %q", k, k)
		}
		seen[k.String()] = true
	}
}
