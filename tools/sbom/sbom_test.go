package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
)

// build compiles ackmark.
func build(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "ackmark")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-o", program, "./cmd/ackmark")
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return program
}

// linked is what `go version -m` says is in a program: its modules with version and sum.
func linked(t *testing.T, program string) (all [][3]string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "version", "-m", program).Output()
	if err != nil {
		t.Fatalf("go version -m: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) == 4 && f[0] == "dep" {
			all = append(all, [3]string{f[1], f[2], f[3]})
		}
	}
	return all
}

func TestEveryModuleIsInIt(t *testing.T) {
	program := build(t)
	data, err := describe(program)
	if err != nil {
		t.Fatal(err)
	}
	// Elsewhere, and later: nothing of that shows.
	second := filepath.Join(t.TempDir(), "renamed")
	if err := os.Rename(program, second); err != nil {
		t.Fatal(err)
	}
	if again, err := describe(second); err != nil || !bytes.Equal(data, again) {
		t.Errorf("the same program makes another document (%v)", err)
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	var d document
	if err := decoder.Decode(&d); err != nil {
		t.Fatal(err)
	}
	deps := linked(t, second)
	if len(deps) < 20 || len(d.Packages) != len(deps)+2 {
		t.Errorf("%d packages for %d modules, the program and the standard library", len(d.Packages), len(deps))
	}
	for _, dep := range deps {
		i := slices.IndexFunc(d.Packages, func(m module) bool { return m.Name == dep[0] })
		if i < 0 {
			t.Errorf("%s is missing", dep[0])
			continue
		}
		m := d.Packages[i]
		if m.Version != dep[1] || m.Source != "go.sum: "+dep[2] || m.References[0].Locator != packageURL(dep[0], dep[1]) {
			t.Errorf("%s is %+v", dep, m)
		}
		if !slices.Contains(d.Relationships, relationship{d.Packages[0].ID, "DEPENDS_ON", m.ID}) {
			t.Errorf("nothing depends on %s", m.ID)
		}
	}
	if d.Packages[0].Name != "github.com/ackmark/ackmark" || !strings.Contains(d.Packages[0].Source, runtime.GOOS+"/"+runtime.GOARCH) || d.Relationships[0] != (relationship{documentID, "DESCRIBES", d.Packages[0].ID}) {
		t.Errorf("the program is %+v, %+v", d.Packages[0], d.Relationships[0])
	}
	if !strings.HasPrefix(d.Packages[len(d.Packages)-1].References[0].Locator, "pkg:golang/stdlib@1.") {
		t.Errorf("the standard library is %+v", d.Packages[len(d.Packages)-1])
	}
	whatSPDXAsks(t, d)
}

// whatSPDXAsks checks the document's form: what its JSON schema and its validators ask for.
func whatSPDXAsks(t *testing.T, d document) {
	t.Helper()
	if d.Version != "SPDX-2.3" || d.License != "CC0-1.0" || d.ID != documentID || !strings.HasPrefix(d.Namespace, "https://") || d.Name == "" {
		t.Errorf("the document is %s, %s, %s, %s, %q", d.Version, d.License, d.ID, d.Namespace, d.Name)
	}
	if !regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$`).MatchString(d.Creation.Created) {
		t.Errorf("created at %q", d.Creation.Created)
	}
	there := map[string]bool{d.ID: true}
	for _, m := range d.Packages {
		if there[m.ID] || !regexp.MustCompile(`^SPDXRef-[A-Za-z0-9.-]+$`).MatchString(m.ID) || m.Name == "" || m.Download == "" {
			t.Errorf("a package with the id %q, the name %q and the place %q", m.ID, m.Name, m.Download)
		}
		there[m.ID] = true
	}
	for _, r := range d.Relationships {
		if !there[r.Element] || !there[r.Related] {
			t.Errorf("a relationship with what is not there: %+v", r)
		}
	}
}

func TestWhatBuildInfosMaySay(t *testing.T) {
	d := newDocument(&debug.BuildInfo{
		GoVersion: "go1.26.8", Path: "example.com/p/cmd/p", Main: debug.Module{Path: "example.com/p", Version: "(devel)"},
		Settings: []debug.BuildSetting{{Key: "GOOS", Value: "linux"}, {Key: "GOARCH", Value: "arm64"}, {Key: "vcs.revision", Value: "c0ffee"}, {Key: "vcs.time", Value: "2026-11-28T17:00:00Z"}, {Key: "vcs.modified", Value: "true"}},
		Deps: []*debug.Module{
			{Path: "example.com/Big/x", Version: "v2.0.0+incompatible", Sum: "h1:a="},
			{Path: "example.com/big-x", Version: "v1.0.0", Sum: "h1:b="},
			{Path: "example.com/old", Version: "v1.0.0", Replace: &debug.Module{Path: "example.com/new", Version: "v1.1.0", Sum: "h1:c="}},
			{Path: "example.com/here", Version: "v1.0.0", Replace: &debug.Module{Path: "../here"}},
		},
	}, "0123")
	whatSPDXAsks(t, d)
	var got []string
	for _, m := range d.Packages {
		got = append(got, m.References[0].Locator+" "+m.Source)
	}
	want := []string{
		"pkg:golang/example.com/p built for linux/arm64 by go1.26.8 from commit c0ffee, modified",
		"pkg:golang/example.com/big/x@v2.0.0%2Bincompatible go.sum: h1:a=",
		"pkg:golang/example.com/big-x@v1.0.0 go.sum: h1:b=",
		"pkg:golang/example.com/new@v1.1.0 go.sum: h1:c=, in the place of example.com/old@v1.0.0",
		"pkg:golang/example.com/here@v1.0.0 no sum, from the directory ../here",
		"pkg:golang/stdlib@1.26.8 ",
	}
	if !slices.Equal(got, want) {
		t.Errorf("it says\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if d.Creation.Created != "2026-11-28T17:00:00Z" || d.Packages[0].Checksums[0] != (checksum{"SHA256", "0123"}) {
		t.Errorf("%+v, %+v", d.Creation, d.Packages[0])
	}
}

func TestWhatIsNoProgramIsRefused(t *testing.T) {
	if _, err := describe("sbom_test.go"); err == nil || !strings.Contains(err.Error(), "sbom_test.go") || !strings.Contains(err.Error(), "go build") {
		t.Errorf("a text was described: %v", err)
	}
}
