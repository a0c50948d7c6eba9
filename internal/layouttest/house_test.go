package layouttest

import (
	"bytes"
	"go/ast"
	"go/build/constraint"
	"go/format"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Longest files, in lines. A file that grows beyond has two jobs.
const (
	maxLines     = 400
	maxTestLines = 600
)

// longFiles are the exceptions, each with its reason.
var longFiles = map[string]string{}

func TestFilesHaveOneJob(t *testing.T) {
	for _, f := range allFiles(t) {
		limit := maxLines
		if f.test {
			limit = maxTestLines
		}
		lines := bytes.Count(f.source, []byte("\n"))
		_, excepted := longFiles[f.path]
		switch {
		case f.generated:
		case lines > limit && !excepted:
			t.Errorf("%s has %d lines, more than %d: split it by what its parts do", f.path, lines, limit)
		case lines <= limit && excepted:
			t.Errorf("%s has %d lines: remove its exception", f.path, lines)
		}
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	for dir, fs := range packages(t) {
		documented, name := "", ""
		for _, f := range fs {
			if f.test {
				continue
			}
			name = f.syntax.Name.Name
			if f.syntax.Doc != nil {
				documented = f.syntax.Doc.Text()
			}
		}
		switch {
		case name == "": // only tests
		case documented == "":
			t.Errorf("%s: package %s has no package comment", dir, name)
		case name != "main" && !strings.HasPrefix(documented, "Package "+name+" "):
			t.Errorf("%s: the package comment should begin with \"Package %s \"", dir, name)
		}
	}
}

func TestFormatted(t *testing.T) {
	for _, f := range allFiles(t) {
		want, err := format.Source(f.source)
		if err != nil {
			t.Errorf("%s: %v", f.path, err)
		} else if !bytes.Equal(want, f.source) {
			t.Errorf("%s: run gofmt -w on it", f.path)
		}
	}
}

// .ci/run compiles for one architecture of each system: another one compiles the same files.
func TestNothingIsByArchitecture(t *testing.T) {
	machines := []string{"386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64", "ppc64le", "riscv64", "s390x", "wasm"}
	byMachine := func(tag string) bool { return slices.Contains(machines, tag) }
	for _, f := range allFiles(t) {
		name := strings.TrimSuffix(strings.TrimSuffix(path.Base(f.path), ".go"), "_test")
		if byMachine(name[strings.LastIndex(name, "_")+1:]) {
			t.Errorf("%s is for one architecture, by its name: .ci/run does not compile it for the others", f.path)
		}
		for line := range strings.Lines(string(f.source)) {
			expr, err := constraint.Parse(strings.TrimSpace(line))
			if err != nil {
				continue
			}
			expr.Eval(func(tag string) bool { // it asks for each
				if byMachine(tag) {
					t.Errorf("%s is by architecture (%s): .ci/run does not compile it for the others", f.path, strings.TrimSpace(line))
				}
				return false
			})
		}
	}
}

func TestVetIsClean(t *testing.T) {
	if testing.Short() {
		t.Skip("go vet builds every package: not with -short")
	}
	if out, err := tool(t, ".", "go", "vet", "./..."); err != nil {
		t.Errorf("go vet ./...: %v\n%s", err, out)
	}
}

// A test that cannot run says so.
func TestNothingSkipsSilently(t *testing.T) {
	for _, f := range allFiles(t) {
		// In a state machine of rapid's, Skip says that an action has nothing to act on.
		if !f.testOnly() || slices.Contains(allImports(f), "pgregory.net/rapid") {
			continue
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) > 0 {
				return true
			}
			if sel, ok := call.Fun.(*ast.SelectorExpr); ok && slices.Contains([]string{"Skip", "SkipNow"}, sel.Sel.Name) {
				t.Errorf("%s: %s without a reason", fset.Position(call.Pos()), sel.Sel.Name)
			}
			return true
		})
	}
}

// A sentence of the threat model has the test that it names.
func TestTheThreatModelsTestsExist(t *testing.T) {
	model, err := os.ReadFile("../../SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for _, f := range allFiles(t) {
		for _, d := range f.syntax.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && f.test {
				there[fn.Name.Name] = true
			}
		}
	}
	named := regexp.MustCompile("`(Test[A-Za-z0-9]+)`").FindAllSubmatch(model, -1)
	for _, m := range named {
		if name := string(m[1]); !there[name] {
			t.Errorf("SECURITY.md names %s, which is no test", name)
		}
	}
	if len(named) < 30 {
		t.Errorf("SECURITY.md names %d tests", len(named))
	}
	for line := range strings.Lines(string(model)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if strings.HasPrefix(line, "| ") && !strings.Contains(cells[len(cells)-1], "`Test") && strings.TrimSpace(cells[len(cells)-1]) != "test" {
			t.Errorf("a sentence without a test: %s", line)
		}
	}
}

// sleepers are test files outside a synctest bubble that may sleep, each with its reason.
var sleepers = map[string]string{
	"internal/proof/mutants/scenarios/deaths_test.go":   "its handlers run in the lab's bubble",
	"internal/proof/mutants/scenarios/donesets_test.go": "its handlers run in the lab's bubble",
	"internal/proof/e2e/deaths_test.go":                 "real processes stand still for longer than the grace",
	"internal/proof/e2e/takeover_test.go":               "real processes are killed at random moments",
}

// In a synctest bubble a sleep takes no time; elsewhere it makes a test slow, and wrong on a slow
// machine. A package whose tests have bubbles is trusted to sleep in them: often a helper in
// another file opens the bubble.
func TestTestsDoNotSleep(t *testing.T) {
	bubbles := map[string]bool{}
	for _, f := range allFiles(t) {
		bubbles[f.dir] = bubbles[f.dir] || slices.Contains(allImports(f), "testing/synctest")
	}
	for _, f := range allFiles(t) {
		if !f.test || bubbles[f.dir] {
			continue
		}
		sleeps := sleepIn(f)
		_, excepted := sleepers[f.path]
		switch {
		case sleeps != "" && !excepted:
			t.Errorf("%s: a sleep: wait for an event, poll under a deadline, or use synctest", sleeps)
		case sleeps == "" && excepted:
			t.Errorf("%s does not sleep: remove its exception", f.path)
		}
	}
}

func sleepIn(f *file) (where string) {
	ast.Inspect(f.syntax, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok && sel.Sel.Name == "Sleep" {
			if pkg, ok := sel.X.(*ast.Ident); ok && pkg.Name == "time" {
				where = fset.Position(n.Pos()).String()
			}
		}
		return where == ""
	})
	return where
}

// Whoever starts a goroutine waits for it.
func TestPackagesWithGoroutinesRunUnderGoleak(t *testing.T) {
	for dir, fs := range packages(t) {
		if within(dir, "examples") { // programs: their tests run them as processes
			continue
		}
		starts, tested, checked := "", false, false
		for _, f := range fs {
			tested = tested || f.test
			checked = checked || f.test && slices.Contains(allImports(f), "go.uber.org/goleak")
			if !f.test && starts == "" {
				starts = startsGoroutine(f)
			}
		}
		if starts != "" && tested && !checked {
			t.Errorf("%s starts goroutines (%s) and has no goleak.VerifyTestMain in its TestMain", dir, starts)
		}
	}
}

func startsGoroutine(f *file) (where string) {
	ast.Inspect(f.syntax, func(n ast.Node) bool {
		if g, ok := n.(*ast.GoStmt); ok {
			where = fset.Position(g.Pos()).String()
		}
		if call, ok := n.(*ast.CallExpr); ok && len(call.Args) == 1 {
			_, isFunc := call.Args[0].(*ast.FuncLit)
			if sel, ok := call.Fun.(*ast.SelectorExpr); ok && isFunc && sel.Sel.Name == "Go" {
				where = fset.Position(call.Pos()).String()
			}
		}
		return where == ""
	})
	return where
}

var unfinished = regexp.MustCompile(`\b(TODO|FIXME|XXX|HACK)\b`)

func TestNothingIsLeftForLater(t *testing.T) {
	for _, f := range allFiles(t) {
		if f.generated || f.dir == "internal/layouttest" {
			continue
		}
		for _, group := range f.syntax.Comments {
			for _, c := range group.List {
				if word := unfinished.FindString(c.Text); word != "" {
					t.Errorf("%s: %s: finish it, or file an issue", fset.Position(c.Pos()), word)
				}
			}
		}
	}
}

// topLevel is what a newcomer sees first: every name of it was decided.
var topLevel = []string{
	"consumer", "producer", "pipeline", "sidecar", "admin", "internal", "cmd", "examples", "bench", "deploy", "docs", "tools",
	"README.md", "DESIGN.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "LICENSE",
	"Makefile", ".golangci.yml", ".goreleaser.yaml", ".ci", "Dockerfile", ".dockerignore", ".gitignore", ".gitattributes", "go.mod", "go.sum", "doc.go", "configerror.go", "sentinels.go", "example_test.go",
}

func TestTopLevelNames(t *testing.T) {
	out, err := tool(t, ".", "git", "ls-tree", "--name-only", "HEAD")
	if err != nil {
		t.Skipf("not a git checkout, so the committed names are unknown: %v: %s", err, out)
	}
	for _, name := range strings.Fields(out) {
		if !slices.Contains(topLevel, name) {
			t.Errorf("%s at the top level: put it below one of the directories there, or decide on it in house_test.go", name)
		}
	}
}
