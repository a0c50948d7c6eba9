package mutants

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/ackmark/ackmark/internal/proof/atonce"
)

const (
	parallel = 8                // processes; a test that waits for what a bug took away needs no processor
	perRun   = 3 * time.Minute  // real time of one process
	oneTest  = 15 * time.Second // of a test with a bug: who hangs so long has been caught
	// runs is how often a scenario is played until it finds a bug: its goroutines run in another
	// order each time, and not every order gives a bug the chance to do harm.
	runs = 3
	// timesVariable is how often to play each bug instead, to find judges that catch theirs by
	// luck.
	timesVariable = "ACKMARK_MUTANT_TIMES"
)

// verdict is what one run found.
type verdict struct {
	bug
	found  []string
	passed bool
	output string
	took   time.Duration
}

func (v *verdict) caught() bool {
	return v.took > 0 && !v.passed && slices.ContainsFunc(v.found, func(name string) bool {
		return name == v.caughtBy || strings.HasPrefix(name, v.caughtBy+"/") // a subtest in which it hung
	})
}

// where is what judged, for the table.
func (v *verdict) where() string {
	if v.pkg != "" {
		return strings.TrimPrefix(v.pkg, "./") + " " + v.test
	}
	return v.scenario
}

func TestMain(m *testing.M) {
	atonce.Tests(parallel)
	os.Exit(m.Run())
}

func TestMutants(t *testing.T) {
	if testing.Short() {
		t.Skip("runs every scenario with every planted bug: not with -short; make mutants")
	}
	bugs, err := readBugs("bugs")
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	times := 0
	if asked := os.Getenv(timesVariable); asked != "" {
		if times, err = strconv.Atoi(asked); err != nil || times < 1 {
			t.Fatalf("%s=%q is not a number of runs", timesVariable, asked)
		}
	}
	bugs = chosen(bugs)
	binaries := build(t, root, bugs)
	verdicts := make([]verdict, len(bugs))
	t.Run("with", func(t *testing.T) {
		t.Run("none", func(t *testing.T) {
			for _, healthy := range judges(bugs) {
				t.Run(healthy.judge()[len("./"):], func(t *testing.T) {
					t.Parallel()
					v := run(t.Context(), root, binaries, healthy)
					for tries := 1; tries < runs && !v.passed; tries++ {
						t.Logf("did not pass without a bug, and is run again:\n%s", tail(v.output, 4<<10))
						v = run(t.Context(), root, binaries, healthy)
					}
					if !v.passed {
						t.Errorf("does not pass without a bug, so no verdict counts:\n%s", tail(v.output, 12<<10))
					}
				})
			}
		})
		for i, b := range bugs {
			t.Run(b.name, func(t *testing.T) {
				t.Parallel()
				v := &verdicts[i]
				if times > 0 {
					missed := 0
					for range times {
						if *v = run(t.Context(), root, binaries, b); !v.caught() {
							missed++
						}
					}
					if missed > 0 {
						t.Errorf("%s was missed by %q in %d of %d runs", b.name, b.caughtBy, missed, times)
					}
					return
				}
				for tries := 0; tries < runs && !v.caught(); tries++ {
					*v = run(t.Context(), root, binaries, b)
				}
				if !v.caught() {
					t.Errorf("%s was not caught by %q but by %q\n%s", b.name, b.caughtBy, v.found, tail(v.output, 12<<10))
				}
			})
		}
	})
	fmt.Print(table(verdicts))
}

// chosen are the bugs that -run asks for by their full names, or all: a bug by itself then needs
// only its own judge built.
func chosen(bugs []bug) []bug {
	asked := flag.Lookup("test.run").Value.String()
	name := strings.TrimSuffix(asked[strings.LastIndex(asked, "/")+1:], "$")
	for _, b := range bugs {
		if b.name == name {
			return []bug{b}
		}
	}
	return bugs
}

// judges are the runs without a bug that must pass, or no verdict counts: every scenario, and each
// test that is a judge.
func judges(bugs []bug) []bug {
	tests := map[string][]string{}
	for _, b := range bugs {
		name, _, _ := strings.Cut(b.test, "/")
		if !slices.Contains(tests[b.judge()], name) {
			tests[b.judge()] = append(tests[b.judge()], name)
		}
	}
	var healthy []bug
	for pkg, names := range tests {
		h := bug{scenario: ".*"}
		if pkg != scenarios {
			h = bug{pkg: pkg, test: "(" + strings.Join(names, "|") + ")"}
		}
		healthy = append(healthy, h)
	}
	slices.SortFunc(healthy, func(a, b bug) int { return strings.Compare(a.pkg, b.pkg) })
	return healthy
}

func run(ctx context.Context, root string, binaries map[string]string, b bug) verdict {
	ctx, cancel := context.WithTimeout(ctx, perRun)
	defer cancel()
	pattern := "^TestScenarios$/^" + b.scenario + "$"
	if b.pkg != "" {
		pattern = "^" + strings.ReplaceAll(b.test, "/", "$/^") + "$"
	}
	begun := time.Now()
	args := []string{"-test.run", pattern, "-test.count", "1", "-test.v", "-test.short"}
	if b.name != "" && b.pkg != "" {
		args = append(args, "-test.timeout", oneTest.String()) // a test that hangs has found something too
	}
	cmd := exec.CommandContext(ctx, binaries[b.judge()], args...)
	cmd.Dir = filepath.Join(root, b.judge()) // where go test runs a package's tests
	cmd.Env = append(os.Environ(), switchVariable+"="+b.name)
	out, err := cmd.CombinedOutput()
	v := verdict{bug: b, passed: err == nil, output: string(out), took: time.Since(begun)}
	v.found = foundBy(&b, v.output)
	if strings.Contains(v.output, "testing: warning: no tests to run") {
		v.passed = true // a judge that is not there caught nothing
	}
	return v
}

// foundBy is what a judge's output says it found: violations of the lab by name, failed tests, and
// the test that a panic ended.
func foundBy(b *bug, output string) []string {
	var found []string
	running := ""
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		var name string
		if test, ok := strings.CutPrefix(line, "=== RUN "); ok {
			running = strings.TrimSpace(test)
		}
		switch {
		case b.pkg == "":
			name = after(line, "found: ")
		case strings.HasPrefix(line, "panic: "):
			name = running
		default:
			name, _, _ = strings.Cut(after(line, "--- FAIL: "), " (")
		}
		if name != "" && !slices.Contains(found, name) {
			found = append(found, name)
		}
	}
	return found
}

// after returns what follows the prefix, or nothing.
func after(s, prefix string) string {
	if rest, ok := strings.CutPrefix(s, prefix); ok {
		return rest
	}
	return ""
}

func table(verdicts []verdict) string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "BUG\tSCENARIO OR TEST\tCAUGHT BY\tTIME")
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
		fmt.Fprintf(w, "%s\t%s\t%s\t%.1f s\n", v.name, v.where(), by, v.took.Seconds())
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
