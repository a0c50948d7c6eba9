package mutants

import (
	"encoding/json"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"testing"
)

const (
	// switchPackage exists in the overlay only.
	switchPackage = "github.com/ackmark/ackmark/internal/planted"
	// switchVariable names the bug that is switched on.
	switchVariable = "ACKMARK_PLANTED"

	switchSource = `// Package planted tells which bug is switched on.
package planted

import "os"

var on = os.Getenv("` + switchVariable + `")

// On tells whether this one is.
func On(bug string) bool { return on == bug }
`
)

// build makes the test binaries of all judges, each with all bugs in it, and returns them by
// package.
func build(t *testing.T, root string, bugs []bug) map[string]string {
	t.Helper()
	dir := t.TempDir()
	overlay, err := writeOverlay(root, dir, bugs)
	if err != nil {
		t.Fatal(err)
	}
	binaries := map[string]string{}
	for _, group := range apart(bugs) {
		to := t.TempDir()
		cmd := exec.CommandContext(t.Context(), "go", append([]string{
			"test", "-c", "-vet=off", "-ldflags=-s -w", "-overlay", overlay, "-o", to + string(filepath.Separator),
		}, group...)...)
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("building the tests of %q with all bugs in: %v\n%s", group, err, out)
		}
		for _, pkg := range group {
			binaries[pkg] = filepath.Join(to, path.Base(pkg)+".test")
		}
	}
	return binaries
}

// apart are the judges in as few groups as may be, in each of which every package has a last
// element of its own: go test -c calls its binaries so.
func apart(bugs []bug) (groups [][]string) {
	seen := map[string]bool{}
	like := map[string]int{} // packages of that last element so far
	for _, b := range bugs {
		pkg := b.judge()
		if seen[pkg] {
			continue
		}
		seen[pkg] = true
		n := like[path.Base(pkg)]
		like[path.Base(pkg)]++
		if n == len(groups) {
			groups = append(groups, nil)
		}
		groups[n] = append(groups[n], pkg)
	}
	return groups
}

func writeOverlay(root, dir string, bugs []bug) (string, error) {
	byFile := map[string][]edit{}
	for _, b := range bugs {
		for _, e := range b.edits {
			byFile[e.file] = append(byFile[e.file], e)
		}
	}
	replace := map[string]string{}
	write := func(file, text string) error {
		to := filepath.Join(dir, file)
		replace[filepath.Join(root, file)] = to
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		return os.WriteFile(to, []byte(text), 0o644)
	}
	for file, edits := range byFile {
		source, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			return "", err
		}
		text, err := plant(string(source), edits)
		if err != nil {
			return "", err
		}
		if err := write(file, text); err != nil {
			return "", err
		}
	}
	if err := write("internal/planted/planted.go", switchSource); err != nil {
		return "", err
	}
	list, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, "overlay.json")
	return name, os.WriteFile(name, list, 0o644)
}
