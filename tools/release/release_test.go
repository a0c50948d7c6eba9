package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/goreleaser/goreleaser/v2/pkg/config"
)

const configuration = "../../.goreleaser.yaml"

func TestTheTargets(t *testing.T) {
	c, err := config.Load(configuration)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"linux/amd64", "linux/arm64", "darwin/amd64", "darwin/arm64", "windows/amd64", "windows/arm64"}
	if len(c.Builds) != 1 || !slices.Equal(targetsOf(&c.Builds[0]), want) {
		t.Errorf("built for %v", c.Builds)
	}
	if len(c.Archives) != 1 || len(c.SBOMs) != 1 || c.Checksum.Algorithm != "sha256" || c.Checksum.Disable {
		t.Errorf("archives %+v, bills of materials %+v, checksums %+v", c.Archives, c.SBOMs, c.Checksum)
	}
}

func TestWhatGoreleaserDoesNotKnowIsFound(t *testing.T) {
	good, err := os.ReadFile(configuration)
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range [][2]string{{"\nsboms:", "\nsbom:"}, {"goarch:", "arch:"}, {"strip_parent:", "strip_parents:"}, {"formats: [tar.gz]", "formats: {tar: gz}"}} {
		bad := strings.Replace(string(good), change[0], change[1], 1)
		if _, err := config.LoadReader(strings.NewReader(bad)); err == nil || bad == string(good) {
			t.Errorf("%q in the place of %q was taken", change[1], change[0])
		}
	}
}

// What is in the archives is there when the hooks have run, and the program of this system is built
// with the flags of the configuration.
func TestTheReleaseOfThisSystem(t *testing.T) {
	// A checkout of its own: Go's toolchain stamps nothing in a worktree of git's.
	source := filepath.Join(t.TempDir(), "source")
	if out, err := exec.CommandContext(t.Context(), "git", "-c", "safe.directory=*", "clone", "--quiet", "--no-hardlinks", "../..", source).CombinedOutput(); err != nil {
		t.Fatalf("git clone: %v\n%s", err, out)
	}
	r := release{source: source, out: t.TempDir(), only: []string{runtime.GOOS + "/" + runtime.GOARCH}}
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(filepath.Join(source, ".goreleaser.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range c.Archives[0].Files {
		if found, err := filepath.Glob(filepath.Join(r.source, f.Source)); err != nil || len(found) == 0 {
			t.Errorf("%s is not there to be put into the archives: %v", f.Source, err)
		}
	}
	for _, name := range []string{"completion/ackmark.bash", "completion/_ackmark", "completion/ackmark.fish", "completion/ackmark.ps1", "man/ackmark-sidecar.1"} {
		if s, err := os.Stat(filepath.Join(r.source, "tmp/release", name)); err != nil || s.Size() < 200 {
			t.Errorf("%s: %v", name, err)
		}
	}
	name := "ackmark_" + runtime.GOOS + "_" + runtime.GOARCH
	program := filepath.Join(r.out, name, "ackmark")
	if runtime.GOOS == "windows" {
		program += ".exe"
	}
	out, err := exec.CommandContext(t.Context(), "go", "version", "-m", program).Output()
	for _, setting := range []string{"-trimpath=true", "CGO_ENABLED=0", "vcs.revision="} {
		if err != nil || !strings.Contains(string(out), setting) {
			t.Errorf("go version -m has no %s: %v\n%s", setting, err, out)
		}
	}
	if out, err := exec.CommandContext(t.Context(), program, "version").Output(); err != nil || !strings.Contains(string(out), "commit ") {
		t.Errorf("ackmark version: %q, %v", out, err)
	}
	sums, err := os.ReadFile(filepath.Join(r.out, "checksums.txt"))
	if err != nil || !strings.Contains(string(sums), "  "+name+"/"+filepath.Base(program)+"\n") || !strings.Contains(string(sums), "  "+name+".spdx.json\n") {
		t.Errorf("the checksums are %s, %v", sums, err)
	}
}
