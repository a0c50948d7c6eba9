package admin

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ackmark/ackmark/internal/podstate"
)

// docs/operations.md names every field of /api/status in its place, and no other.
func TestStatusIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "### The state as JSON\n")
	section, _, _ = strings.Cut(section, "\n## ")
	documented := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]*)` \\| (.*) \\|$").FindAllStringSubmatch(section, -1) {
		for _, field := range regexp.MustCompile("`([a-z0-9_]+)`").FindAllStringSubmatch(m[2], -1) {
			documented[strings.TrimPrefix(m[1]+"."+field[1], ".")] = true
		}
	}
	there := map[string]bool{}
	fields(reflect.TypeFor[podstate.Pod](), "", there)
	for name := range there {
		if !documented[name] {
			t.Errorf("docs/operations.md does not tell what %s is", name)
		}
	}
	for name := range documented {
		if !there[name] {
			t.Errorf("docs/operations.md tells of %s, which /api/status does not have", name)
		}
	}
	if len(there) < 50 {
		t.Errorf("only %d fields found", len(there))
	}
}

// docs/operations.md names every path that the package does.
func TestPathsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	paths := regexp.MustCompile(`(?m)^//\t(/\S*) `).FindAllSubmatch(doc, -1)
	if len(paths) < 7 {
		t.Errorf("only %d paths found", len(paths))
	}
	_, section, _ := strings.Cut(string(text), "## The admin port\n")
	for _, path := range paths {
		if !strings.Contains(section, "\n| `"+string(path[1])+"` | ") {
			t.Errorf("docs/operations.md does not tell what %s answers", path[1])
		}
	}
}

// docs/operations.md and the page know every state, stage and kind, and no other.
func TestWordsAreKnown(t *testing.T) {
	text, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	model, err := page.ReadFile("page/model.js")
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		in    string
		list  string // where it stands in the documentation
		page  string // and in the page; empty: the page shows it as it is
		words []string
	}{
		{"partitions", "`state` \\(([a-z, ]+)\\)", `stateWeights = \{([^}]*)\}`, of(podstate.PartitionStates)},
		{"oldest", "`stage` \\(([a-z, ]+)\\)", "", of(podstate.Stages)},
		{"incidents", "`kind` \\(([a-z_, ]+)\\)", `kindWords = \{([^}]*)\}`, of(podstate.Kinds)},
	} {
		row := regexp.MustCompile("(?m)^\\| `" + x.in + "` \\|.*$").FindString(string(text))
		documented := strings.Split(first(regexp.MustCompile(x.list).FindStringSubmatch(row)), ", ")
		slices.Sort(documented)
		if !slices.Equal(documented, x.words) {
			t.Errorf("docs/operations.md, %s: %q, and there are %q", x.in, documented, x.words)
		}
		if x.page == "" {
			continue
		}
		var shown []string
		for _, word := range regexp.MustCompile("([a-z_]+):").FindAllStringSubmatch(first(regexp.MustCompile(x.page).FindStringSubmatch(string(model))), -1) {
			shown = append(shown, word[1])
		}
		slices.Sort(shown)
		if !slices.Equal(shown, x.words) {
			t.Errorf("page/model.js, %s: %q, and there are %q", x.in, shown, x.words)
		}
	}
}

func of[T ~string](list []T) (words []string) {
	for _, w := range list {
		words = append(words, string(w))
	}
	slices.Sort(words)
	return words
}

// first is what the first group of an expression found.
func first(found []string) string {
	if len(found) < 2 {
		return ""
	}
	return found[1]
}

// fields collects the JSON names of what a type has, each below the name of what holds it. Keys and
// their hashes are not shown here.
func fields(of reflect.Type, in string, all map[string]bool) {
	for i := range of.NumField() {
		f := of.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" { // embedded
			fields(f.Type, in, all)
			continue
		}
		if name == "key" || name == "key_hash" {
			continue
		}
		all[strings.TrimPrefix(in+"."+name, ".")] = true
		inner := f.Type
		for inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice {
			inner = inner.Elem()
		}
		if inner.Kind() == reflect.Struct && inner != reflect.TypeFor[time.Time]() {
			fields(inner, name, all)
		}
	}
}
