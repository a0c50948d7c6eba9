package mutants

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"
)

const (
	atLeast  = 15              // bugs: the number
	parallel = 2               // processes; more only wait for processors
	perRun   = 2 * time.Minute // real time of one process
)

// verdict is what one run found.
type verdict struct {
	bug
	found  []string
	passed bool
	output string
	took   time.Duration
}

func (v *verdict) caught() bool { return !v.passed && slices.Contains(v.found, v.caughtBy) }

func TestMutants(t *testing.T) {
	if testing.Short() {
		t.Skip("runs every scenario with every planted bug: not with -short; make mutants")
	}
	bugs, err := readBugs("bugs")
	if err != nil {
		t.Fatal(err)
	}
	if len(bugs) < atLeast {
		t.Errorf("%d bugs, at least %d are promised", len(bugs), atLeast)
	}
	binary := build(t, bugs)
	turns := make(chan struct{}, parallel)
	verdicts := make([]verdict, len(bugs))
	t.Run("with", func(t *testing.T) {
		t.Run("none", func(t *testing.T) {
			t.Parallel()
			turns <- struct{}{}
			defer func() { <-turns }()
			if v := run(t.Context(), binary, bug{scenario: ".*"}); !v.passed {
				t.Errorf("the scenarios do not pass without a bug, so no verdict counts:\n%s", tail(v.output, 12<<10))
			}
		})
		for i, b := range bugs {
			t.Run(b.name, func(t *testing.T) {
				t.Parallel()
				turns <- struct{}{}
				defer func() { <-turns }()
				verdicts[i] = run(t.Context(), binary, b)
				if v := &verdicts[i]; !v.caught() {
					t.Errorf("%s was not caught by %q but by %q\n%s", b.name, b.caughtBy, v.found, tail(v.output, 12<<10))
				}
			})
		}
	})
	fmt.Print(table(verdicts))
}

func run(ctx context.Context, binary string, b bug) verdict {
	ctx, cancel := context.WithTimeout(ctx, perRun)
	defer cancel()
	begun := time.Now()
	cmd := exec.CommandContext(ctx, binary, "-test.run", "^TestScenarios$/^"+b.scenario+"$", "-test.count", "1", "-test.v")
	cmd.Env = append(os.Environ(), switchVariable+"="+b.name)
	out, err := cmd.CombinedOutput()
	v := verdict{bug: b, passed: err == nil, output: string(out), took: time.Since(begun)}
	for line := range strings.Lines(v.output) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "found: "); ok && !slices.Contains(v.found, name) {
			v.found = append(v.found, name)
		}
	}
	return v
}

func table(verdicts []verdict) string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "BUG\tSCENARIO\tCAUGHT BY\tTIME")
	caught, ran := 0, 0
	for i := range verdicts {
		v := &verdicts[i]
		if v.took == 0 {
			continue // not asked for by -run
		}
		ran++
		by := v.caughtBy
		switch {
		case v.caught():
			caught++
		case v.passed:
			by = "NOT CAUGHT"
		default:
			by = "CAUGHT BY ANOTHER NAME: " + strings.Join(v.found, ", ")
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%.1f s\n", v.name, v.scenario, by, v.took.Seconds())
	}
	_ = w.Flush()
	fmt.Fprintf(&out, "%d of %d caught\n", caught, ran)
	return out.String()
}

func tail(s string, n int) string {
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}
