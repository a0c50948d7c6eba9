package layouttest

import (
	"go/ast"
	"go/doc"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// public are the packages that a user imports, and whose `go doc` has to show how.
var public = []string{
	".", "admin", "consumer", "consumer/consumertest", "pipeline", "pipeline/pipelinetest", "producer", "producer/producertest", "sidecar",
}

// Every example of a public package runs in go test, says when one would use what it shows, and
// stands in the table of docs/examples.md; the table names no other.
func TestExamplesRunAndAreListed(t *testing.T) {
	table := string(read(t, "docs/examples.md"))
	listed := map[string]bool{}
	for _, m := range regexp.MustCompile("\\]\\(\\.\\./([^)]+)\\) \\| `(Example\\w*)`").FindAllStringSubmatch(table, -1) {
		listed[m[1]+" "+m[2]] = true
	}
	found, dirs := 0, map[string]bool{}
	for _, f := range allFiles(t) {
		if !f.test || !slices.Contains(public, f.dir) {
			continue
		}
		for _, e := range doc.Examples(f.syntax) {
			found++
			dirs[f.dir] = true
			name := "Example" + e.Name
			if e.Output == "" && !e.EmptyOutput {
				t.Errorf("%s: %s has no // Output: so it does not run", f.path, name)
			}
			if e.Doc == "" {
				t.Errorf("%s: %s has no comment that says when one would use it", f.path, name)
			}
			if key := f.path + " " + name; !listed[key] {
				t.Errorf("%s: %s is not in the table of docs/examples.md", f.path, name)
			} else {
				delete(listed, key)
			}
		}
	}
	for key := range listed {
		t.Errorf("docs/examples.md lists %s, which is not there", key)
	}
	for _, dir := range public {
		if !dirs[dir] {
			t.Errorf("%s is a public package without an example", dir)
		}
	}
	if found < 20 {
		t.Errorf("%d examples in the public packages, want at least 20", found)
	}
}

// Nothing but what a user can import is seen in an example, except its broker.
func TestExamplesShowNothingInternal(t *testing.T) {
	for _, f := range allFiles(t) {
		if !f.test || !slices.Contains(public, f.dir) || !slices.ContainsFunc(f.syntax.Decls, isExample) {
			continue
		}
		for _, to := range repoImports(f) {
			if within(to, "internal") && to != "internal/exampletest" {
				t.Errorf("%s imports %s: a reader of the example cannot", f.path, to)
			}
		}
	}
}

func isExample(d ast.Decl) bool {
	fn, ok := d.(*ast.FuncDecl)
	return ok && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, "Example")
}
