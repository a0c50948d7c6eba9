package scenarios

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ackmark/ackmark/internal/lab"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scenario is a lab and what happens in it.
type scenario struct {
	name string
	cfg  lab.Config
	play func(l *lab.Lab)
}

// TestScenarios prints a line "found: …" for each kind of violation, for package mutants to read, and fails if there is one.
func TestScenarios(t *testing.T) {
	for _, s := range slices.Concat(outages, rebalances, streams, failures, limits) {
		t.Run(s.name, func(t *testing.T) {
			cfg := s.cfg
			cfg.Seed = cmp.Or(cfg.Seed, 1)
			cfg.Patience = cmp.Or(cfg.Patience, 90*time.Second) // of virtual time: a bug that stalls the group stalls it for ever
			cfg.AllowViolations = true
			judge(t, lab.Run(t, cfg, s.play))
		})
	}
}

func judge(t *testing.T, r *lab.Result) {
	seen := map[string]bool{}
	for _, v := range r.Violations {
		if name := string(v.Name); !seen[name] {
			seen[name] = true
			fmt.Fprintf(os.Stdout, "found: %s\n", name)
			t.Error(v)
		}
	}
	for _, p := range r.Problems {
		t.Errorf("problem: %s", p)
	}
	t.Logf("%v of virtual time, %s", r.Virtual.Round(time.Millisecond), strings.TrimSpace(r.Summary))
}
