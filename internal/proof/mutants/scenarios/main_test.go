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

	"github.com/ackmark/ackmark/internal/proof/lab"
	"github.com/ackmark/ackmark/internal/proof/verify"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scenario is a lab and what happens in it.
type scenario struct {
	name string
	cfg  lab.Config
	play func(l *lab.Lab)
	// orderly: nothing in it explains a duplicate, whatever the lab takes for an incident.
	orderly bool
}

func (s scenario) inOrder() scenario {
	s.orderly = true
	return s
}

// TestScenarios prints a line "found: …" for each kind of violation, for package mutants to read,
// and fails if there is one.
func TestScenarios(t *testing.T) {
	for _, s := range slices.Concat(outages, rebalances, streams, failures, limits, doneSets, deaths, fallbacks) {
		t.Run(s.name, func(t *testing.T) {
			cfg := s.cfg
			cfg.Seed = cmp.Or(cfg.Seed, 1)
			cfg.Patience = cmp.Or(cfg.Patience, 90*time.Second) // of virtual time: a bug that stalls the group stalls it for ever
			cfg.AllowViolations = true
			r := lab.Run(t, cfg, func(l *lab.Lab) {
				s.play(l)
				settle(l)
			})
			if s.orderly {
				repeats(r)
			}
			judge(t, r)
		})
	}
}

// handledAgain is what the checker cannot know: whether something explains it depends on the
// scenario.
const handledAgain verify.Name = "S6 input handled again beyond the bound"

// repeats finds what repeats although everything went in order.
func repeats(r *lab.Result) {
	if n := r.Counts.Duplicates; n > 0 {
		r.Violations = append(r.Violations, verify.Violation{Name: verify.TooManyDuplicates, Detail: fmt.Sprintf("%d outputs repeat", n)})
	}
	if n := r.Counts.HandedOut - r.Counts.Inputs; n > 0 {
		r.Violations = append(r.Violations, verify.Violation{Name: handledAgain, Detail: fmt.Sprintf("%d inputs were handed out again", n)})
	}
}

// settle waits for the end of the input. Where that does not come, it is told at once what is
// missing: stopping the apps would report what was not reported (S12), or never end.
func settle(l *lab.Lab) {
	l.Heal()
	if len(l.Apps()) == 0 || l.Idle() {
		return
	}
	_ = l.Checker.Finish()
	for _, v := range l.Checker.Violations() {
		fmt.Printf("found: %s\n%v\n", v.Name, v)
	}
	fmt.Println(l.Checker.Summary())
	os.Exit(1) // not even a test's end is sure to come
}

func judge(t *testing.T, r *lab.Result) {
	seen := map[string]bool{}
	for _, v := range r.Violations {
		if name := string(v.Name); !seen[name] {
			seen[name] = true
			fmt.Printf("found: %s\n", name)
			t.Error(v)
		}
	}
	for _, p := range r.Problems {
		t.Errorf("problem: %s", p)
	}
	t.Logf("%v of virtual time, %s", r.Virtual.Round(time.Millisecond), strings.TrimSpace(r.Summary))
}
