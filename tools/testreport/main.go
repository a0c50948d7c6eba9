// Command testreport reads what `go test -json` says, prints it as go test would, and refuses skips
// that nobody allowed: a test that did not run proves nothing, and says so nowhere in go test's
// summary.
//
//	go test -json ./... | go -C tools run ./testreport --allow 'this system has no'
//
// It exits 1 if a test or a build failed, if a skip is not allowed, or if no test ran.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
)

func main() {
	var allow patterns
	flag.Var(&allow, "allow", "regular expression of a reason for which a test may skip; may be given again")
	var later patterns
	flag.Var(&later, "later", "as -allow, of a skip that another run must make good; may be given again")
	laterTo := flag.String("later-to", "", "file to write the packages with such skips to, one a line")
	failed := flag.String("failed", "", "file to write what to run again to, a package and a pattern for -run a line")
	flag.Parse()
	r := report{allow: allow, later: later, out: os.Stdout, tests: map[id]*strings.Builder{}, packages: map[string]*strings.Builder{}}
	err := r.read(os.Stdin)
	err = errors.Join(err, writeLines(*failed, r.again()), writeLines(*laterTo, r.postponed))
	if err != nil {
		fmt.Fprintln(os.Stderr, "testreport:", err)
		os.Exit(1)
	}
}

func writeLines(name string, lines []string) error {
	if name == "" {
		return nil
	}
	var text strings.Builder
	for _, line := range lines {
		text.WriteString(line + "\n")
	}
	return os.WriteFile(name, []byte(text.String()), 0o644)
}

// patterns is a flag that may be given again.
type patterns []*regexp.Regexp

// String implements flag.Value.
func (p *patterns) String() string { return "" }

// Set implements flag.Value.
func (p *patterns) Set(text string) error {
	re, err := regexp.Compile(text)
	*p = append(*p, re)
	return err
}

func (p patterns) match(text string) bool {
	return slices.ContainsFunc(p, func(re *regexp.Regexp) bool { return re.MatchString(text) })
}

// event is a line of test2json.
type event struct {
	Action, Package, ImportPath, Test, Output string
}

type id struct{ pkg, test string }

// report follows a run. What a test printed is kept until its end: of one that passes nobody wants
// it.
type report struct {
	allow     patterns
	later     patterns
	out       io.Writer
	tests     map[id]*strings.Builder
	packages  map[string]*strings.Builder // what belongs to no test
	passed    int
	failed    []string
	died      []string // packages that did not come to their end
	allowed   int
	postponed []string // packages
	refused   []string
}

func (r *report) read(in io.Reader) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			fmt.Fprintln(r.out, lines.Text()) // go itself, before it speaks JSON
			continue
		}
		if e.Test != "" {
			r.test(&e)
		} else {
			r.pkg(&e)
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return r.end()
}

func (r *report) test(e *event) {
	key := id{e.Package, e.Test}
	text := r.tests[key]
	if text == nil {
		text = new(strings.Builder)
		r.tests[key] = text
	}
	switch e.Action {
	case "output":
		if !strings.HasPrefix(e.Output, "=== ") {
			text.WriteString(e.Output)
		}
		return
	case "pass":
		r.passed++
	case "fail":
		r.failed = append(r.failed, e.Package+" "+e.Test)
		if strings.Contains(text.String(), "panic: ") {
			r.died = append(r.died, e.Package)
		}
		fmt.Fprint(r.out, text)
	case "skip":
		r.skip(e, text.String())
	default:
		return
	}
	delete(r.tests, key)
}

func (r *report) skip(e *event, text string) {
	reason := strings.Join(strings.Fields(strings.ReplaceAll(text, "--- SKIP: "+e.Test, "")), " ")
	switch {
	case r.later.match(reason):
		if !slices.Contains(r.postponed, e.Package) {
			r.postponed = append(r.postponed, e.Package)
		}
		r.allowed++
		return
	case r.allow.match(reason):
		r.allowed++
		return
	}
	r.refused = append(r.refused, fmt.Sprintf("%s %s: %.300s", e.Package, e.Test, reason))
}

func (r *report) pkg(e *event) {
	switch e.Action {
	case "build-output", "build-fail":
		fmt.Fprint(r.out, e.Output)
		if e.Action == "build-fail" {
			r.failed, r.died = append(r.failed, e.ImportPath+" (build)"), append(r.died, e.ImportPath)
		}
	case "output":
		if r.packages[e.Package] == nil {
			r.packages[e.Package] = new(strings.Builder)
		}
		r.packages[e.Package].WriteString(e.Output)
	case "fail":
		r.unfinished(e.Package)
		r.failed = append(r.failed, e.Package)
		fmt.Fprint(r.out, r.packages[e.Package])
	case "pass", "skip":
		fmt.Fprint(r.out, lastLine(r.packages[e.Package]))
	}
}

// unfinished prints what the tests said that a panic or a timeout ended: they have no verdict of
// their own.
func (r *report) unfinished(pkg string) {
	for key, text := range r.tests {
		if key.pkg == pkg {
			r.died = append(r.died, pkg)
			fmt.Fprintf(r.out, "%s did not end:\n%s", key.test, text)
		}
	}
}

// again says what to run once more: of a package that came to its end its failed tests, else all of
// it, since nobody knows what the tests behind a panic would have found.
func (r *report) again() []string {
	tests := map[string][]string{}
	for _, f := range r.failed {
		pkg, test, _ := strings.Cut(f, " ")
		top, _, _ := strings.Cut(test, "/")
		if tests[pkg] == nil {
			tests[pkg] = []string{}
		}
		if top != "" && !slices.Contains(tests[pkg], top) {
			tests[pkg] = append(tests[pkg], top)
		}
	}
	var lines []string
	for _, pkg := range slices.Sorted(maps.Keys(tests)) {
		pattern := "."
		if names := tests[pkg]; len(names) > 0 && !slices.Contains(r.died, pkg) {
			pattern = "^(" + strings.Join(names, "|") + ")$"
		}
		lines = append(lines, pkg+" "+pattern)
	}
	return lines
}

// lastLine of a package that passed is go test's summary of it.
func lastLine(text *strings.Builder) string {
	if text == nil {
		return ""
	}
	all := strings.SplitAfter(text.String(), "\n")
	all = slices.DeleteFunc(all, func(l string) bool { return l == "" || strings.HasPrefix(l, "?") })
	return strings.Join(all[max(0, len(all)-1):], "")
}

func (r *report) end() error {
	fmt.Fprintf(r.out, "%d tests passed, %d failed, %d skipped as allowed, %d skipped otherwise\n", r.passed, len(r.failed), r.allowed, len(r.refused))
	for _, line := range r.refused {
		fmt.Fprintln(r.out, "skipped, which is not allowed here:", line)
	}
	switch {
	case len(r.failed) > 0:
		return fmt.Errorf("failed: %s", strings.Join(r.failed, ", "))
	case len(r.refused) > 0:
		return errors.New("tests skipped for reasons that are not this system's: install what they lack, or allow the reason in .ci/run")
	case r.passed == 0:
		return errors.New("no test ran")
	}
	return nil
}
