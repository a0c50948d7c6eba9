package mutants

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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
	for _, b := range bugs {
		pkg := b.judge()
		if binaries[pkg] != "" {
			continue
		}
		binaries[pkg] = filepath.Join(dir, strings.ReplaceAll(strings.TrimPrefix(pkg, "./"), "/", "_")+".test")
		cmd := exec.CommandContext(t.Context(), "go", "test", "-c", "-vet=off", "-overlay", overlay, "-o", binaries[pkg], pkg)
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("building the tests of %s with all bugs in: %v\n%s", pkg, err, out)
		}
	}
	return binaries
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
