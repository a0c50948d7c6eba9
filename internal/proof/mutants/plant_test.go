package mutants

import (
	"path/filepath"
	"strings"
	"testing"
)

const head = "# why\nscenario: outage\ncaught by: S1 premature commit\n"

func TestABugIsPlanted(t *testing.T) {
	b, err := parseBug("late", head+"-- find a.go\n\tfence()\n-- replace\n\tif !PLANTED {\n\t\tfence()\n\t}\n")
	if err != nil {
		t.Fatal(err)
	}
	got, err := plant("// Package a is.\npackage a\n\nfunc f() {\n\tfence()\n}\n", b.edits)
	want := "// Package a is.\npackage a; import \"" + switchPackage + "\"\n\nfunc f() {\n\tif !planted.On(\"late\") {\n\t\tfence()\n\t}\n}\n"
	if err != nil || got != want {
		t.Errorf("error %v\n%s", err, got)
	}
}

// A bug whose place is gone proves nothing, so it may not pass for one that is caught, nor for
// none.
func TestCodeThatMovedIsAnError(t *testing.T) {
	at := func(find string) edit { return edit{bug: "b", file: "a.go", find: find, replace: "x"} }
	for name, c := range map[string]struct {
		edits []edit
		want  string
	}{
		"gone":    {[]edit{at("four")}, "occurs 0 times"},
		"twice":   {[]edit{at("one")}, "occurs 2 times"},
		"overlap": {[]edit{at("two three"), at("one two")}, "another bug replaces the same text"},
	} {
		if _, err := plant("package a\n\n// one two three; one.\n", c.edits); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestABugFileSaysEverything(t *testing.T) {
	const edits = "-- find a.go\nx\n-- replace\nPLANTED\n"
	for name, text := range map[string]string{
		"no comment":   strings.TrimPrefix(head, "# why\n") + edits,
		"no name":      "# why\nscenario: s\n" + edits,
		"two judges":   head + "package: ./a\ntest: TestA\n" + edits,
		"half a judge": "# why\npackage: ./a\ncaught by: TestA\n" + edits,
		"unknown line": head + "sceanrio: s\n" + edits,
		"no switch":    head + "-- find a.go\nx\n-- replace\ny\n",
		"no replace":   head + "-- find a.go\nx\n-- find b.go\ny\n-- replace\nPLANTED\n",
		"nothing":      head,
		"empty find":   head + "-- find a.go\n-- replace\nPLANTED\n",
	} {
		if b, err := parseBug("b", text); err == nil {
			t.Errorf("%s: taken as %+v", name, b)
		}
	}
}

// Without this the places of the bugs would be looked at in long runs only, and a change that moved
// one would land.
func TestEveryBugFindsItsPlace(t *testing.T) {
	bugs, err := readBugs("bugs")
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := writeOverlay(root, t.TempDir(), bugs); err != nil {
		t.Error(err)
	}
}
