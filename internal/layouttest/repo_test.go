package layouttest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/ackmark/ackmark"

// file is one Go file of this module.
type file struct {
	path      string // from the repository's root, with slashes
	dir       string // "." for the root
	source    []byte
	syntax    *ast.File
	test      bool // _test.go
	generated bool
}

// testOnly tells files that never reach a user's binary: tests, and packages that are named as
// helpers of tests.
func (f *file) testOnly() bool { return f.test || strings.HasSuffix(path.Base(f.dir), "test") }

var fset = token.NewFileSet()

// root is the repository's root: tests run in their package's directory.
const root = "../.."

// files reads and parses every Go file of the module once. Nested modules (tools) are not part of
// it.
var files = sync.OnceValues(func() ([]*file, error) {
	var all []*file
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if rel != "." && (foreign(name) || strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "_") || d.Name() == "testdata") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(rel, ".go") {
			return nil
		}
		f, err := parse(name, rel)
		all = append(all, f)
		return err
	})
	return all, err
})

// foreign tells a directory that the go command leaves out of the module: another module, or
// JavaScript packages.
func foreign(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil || filepath.Base(dir) == "node_modules"
}

func parse(name, rel string) (*file, error) {
	source, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	syntax, err := parser.ParseFile(fset, rel, source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	return &file{
		path: rel, dir: path.Dir(rel), source: source, syntax: syntax,
		test:      strings.HasSuffix(rel, "_test.go"),
		generated: ast.IsGenerated(syntax),
	}, nil
}

func allFiles(t *testing.T) []*file {
	t.Helper()
	all, err := files()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 50 {
		t.Fatalf("only %d Go files found from %s: the walk is broken", len(all), root)
	}
	return all
}

// packages groups the files by directory.
func packages(t *testing.T) map[string][]*file {
	t.Helper()
	byDir := map[string][]*file{}
	for _, f := range allFiles(t) {
		byDir[f.dir] = append(byDir[f.dir], f)
	}
	return byDir
}

// tool runs a command in a directory of the repository.
func tool(t *testing.T, dir, name string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = filepath.Join(root, dir)
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}
