package layouttest

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// elsewhere are the names of pages that are in no checkout: a reader who follows them finds
// nothing.
var elsewhere = regexp.MustCompile(`\b(spec\.md|the brief|spec rows?|kafka-facts)\b|\.\./shared\b`)

var (
	citedPage  = regexp.MustCompile(`[\w./*-]*\w\.md\b`)
	citedFault = regexp.MustCompile(`\bfaults? (\d+)\b`)
)

// citers are files that still cite what is elsewhere; a line goes when its file does not any more.
var citers = map[string]bool{}

// What comments, pages and scripts cite is in the repository: docs/faults.md has the faults by
// their numbers.
func TestWhatIsCitedIsHere(t *testing.T) {
	found := 0
	citing := map[string]bool{}
	pages := map[string]bool{}
	everyText(t, func(name, text string) { pages[filepath.Base(name)] = true })
	everyText(t, func(name, text string) {
		found++
		if within(filepath.ToSlash(filepath.Dir(name)), "internal/layouttest") {
			return // its samples are wrong on purpose
		}
		for i, line := range strings.Split(text, "\n") {
			if err := uncited(line, pages); err != nil && !citers[name] {
				t.Errorf("%s:%d: %v", name, i+1, err)
			} else if err != nil {
				citing[name] = true
			}
		}
	})
	for name := range citers {
		if !citing[name] {
			t.Errorf("citations_test.go: %s cites nothing that is elsewhere: take it out of citers", name)
		}
	}
	if found < 500 {
		t.Fatalf("only %d files read: is %s the root?", found, root)
	}
}

// uncited says what a line cites that is not here.
func uncited(line string, pages map[string]bool) error {
	if page := elsewhere.FindString(line); page != "" {
		return fmt.Errorf("%q is not in the repository: cite docs/faults.md (\"fault 14\"), DESIGN.md or docs/guarantees.md, or say the fact itself", page)
	}
	if !strings.Contains(line, ".md") && !strings.Contains(line, "fault") {
		return nil
	}
	for _, m := range citedPage.FindAllString(line, -1) {
		if base := filepath.Base(m); !pages[base] && !strings.Contains(base, "*") {
			return fmt.Errorf("there is no page %s in the repository", m)
		}
	}
	for _, m := range citedFault.FindAllStringSubmatch(line, -1) {
		if n, err := strconv.Atoi(m[1]); err != nil || n < 1 || n > faults {
			return fmt.Errorf("%q: docs/faults.md has the faults 1 to %d", m[0], faults)
		}
	}
	return nil
}

// everyText calls fn with each text file of the repository.
func everyText(t *testing.T, fn func(name, text string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		hidden := strings.HasPrefix(d.Name(), ".") && rel != "." && d.Name() != ".ci"
		switch {
		case d.IsDir() && (hidden || d.Name() == "node_modules"):
			return filepath.SkipDir
		case !d.Type().IsRegular() || hidden || strings.HasSuffix(name, ".svg"):
			return nil
		}
		text, err := os.ReadFile(name)
		if err == nil && utf8.Valid(text) {
			fn(rel, string(text))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestTheCitationCheckSeesWhatIsElsewhere(t *testing.T) {
	pages := map[string]bool{"faults.md": true}
	for line, good := range map[string]bool{
		"// refused (fault 14), as docs/faults.md says": true, "the faults 14, 15": true, "[x](../docs/faults.md)": true, "docs/*.md": true,
		"// (spec row 14)": false, "see spec.md": false, "as the brief says": false, "../shared/x": false, "fault 34": false, "in nowhere.md": false,
	} {
		if err := uncited(line, pages); (err == nil) != good {
			t.Errorf("%q: %v", line, err)
		}
	}
}
