package mutants

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// bug is one file of bugs/. Its judge is a scenario of the lab, or a test of a package.
type bug struct {
	name     string
	why      string
	scenario string
	pkg      string // whose test judges: ./consumer
	test     string
	caughtBy string
	edits    []edit
}

// judge is the package whose test binary the bug is run in.
func (b *bug) judge() string {
	if b.pkg != "" {
		return b.pkg
	}
	return scenarios
}

// scenarios is the package that plays the lab's.
const scenarios = "./internal/proof/mutants/scenarios"

// edit replaces a text of a production file, named from the repository's root.
type edit struct {
	bug           string
	file          string
	find, replace string
}

func readBugs(dir string) ([]bug, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil {
		return nil, err
	}
	var all []bug
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		b, err := parseBug(strings.TrimSuffix(filepath.Base(file), ".txt"), string(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		all = append(all, b)
	}
	return all, nil
}

func parseBug(name, text string) (bug, error) {
	b := bug{name: name}
	head, body, _ := strings.Cut(text, "\n-- ")
	for line := range strings.Lines(head) {
		line = strings.TrimSpace(line)
		key, value, _ := strings.Cut(line, ": ")
		switch {
		case strings.HasPrefix(line, "#"):
			b.why += strings.TrimPrefix(line, "#")
		case key == "scenario":
			b.scenario = value
		case key == "package":
			b.pkg = value
		case key == "test":
			b.test = value
		case key == "caught by":
			b.caughtBy = value
		case line != "":
			return b, fmt.Errorf("what is %q? known are #, scenario:, package:, test: and caught by:", line)
		}
	}
	inLab := b.scenario != "" && b.pkg == "" && b.test == ""
	inPackage := b.scenario == "" && strings.HasPrefix(b.pkg, "./") && strings.HasPrefix(b.test, "Test")
	if b.why == "" || b.caughtBy == "" || inLab == inPackage {
		return b, errors.New("a comment, caught by:, and either scenario: or package: ./DIR with test: TestNAME are needed")
	}
	for section := range strings.SplitSeq(body, "\n-- ") {
		if err := b.section(section); err != nil {
			return b, err
		}
	}
	for _, e := range b.edits {
		if e.replace == "" {
			return b, fmt.Errorf("%s: find without replace", e.file)
		}
	}
	if !strings.Contains(text, "PLANTED") {
		return b, errors.New("no replacement asks for PLANTED, so it is there always")
	}
	return b, nil
}

func (b *bug) section(text string) error {
	head, content, _ := strings.Cut(text, "\n")
	content = strings.Trim(content, "\n")
	if file, ok := strings.CutPrefix(head, "find "); ok && content != "" {
		b.edits = append(b.edits, edit{bug: b.name, file: strings.TrimSpace(file), find: content})
		return nil
	}
	if head == "replace" && len(b.edits) > 0 && content != "" {
		b.edits[len(b.edits)-1].replace = strings.ReplaceAll(content, "PLANTED", fmt.Sprintf("planted.On(%q)", b.name))
		return nil
	}
	return fmt.Errorf("section %q: after \"find FILE\" comes \"replace\", and neither is empty", head)
}

// plant applies all edits of one file, each to the text as it is in the repository.
func plant(source string, edits []edit) (string, error) {
	type place struct {
		from, to int
		edit
	}
	var places []place
	for _, e := range edits {
		from := strings.Index(source, e.find)
		if n := strings.Count(source, e.find); n != 1 {
			return "", fmt.Errorf("bugs/%s.txt: the text to replace occurs %d times in %s instead of once: the code moved, move the bug with it\n%s", e.bug, n, e.file, e.find)
		}
		places = append(places, place{from, from + len(e.find), e})
	}
	slices.SortFunc(places, func(a, b place) int { return cmp.Compare(a.from, b.from) })
	var out strings.Builder
	at := 0
	for _, p := range places {
		if p.from < at {
			return "", fmt.Errorf("bugs/%s.txt: another bug replaces the same text of %s: let one of them find a smaller text", p.bug, p.file)
		}
		out.WriteString(source[at:p.from])
		out.WriteString(p.replace)
		at = p.to
	}
	out.WriteString(source[at:])
	return importSwitch(out.String())
}

// importSwitch adds the import on the line of the package clause, so that line numbers stay.
func importSwitch(source string) (string, error) {
	lines := strings.SplitAfter(source, "\n")
	i := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "package ") })
	if i < 0 {
		return "", errors.New("no package clause")
	}
	lines[i] = strings.TrimSuffix(lines[i], "\n") + "; import \"" + switchPackage + "\"\n"
	return strings.Join(lines, ""), nil
}
