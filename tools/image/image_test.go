package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// read is the image of this machine in a layout.
func read(t *testing.T, dir string) v1.Image {
	t.Helper()
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(index); err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range manifest.Manifests {
		if m.Platform.Architecture == runtime.GOARCH {
			img, err := index.Image(m.Digest)
			if err != nil {
				t.Fatal(err)
			}
			return img
		}
	}
	t.Fatalf("no image for %s in %+v", runtime.GOARCH, manifest.Manifests)
	return nil
}

// unpack returns the files of an image, and writes its program.
func unpack(t *testing.T, img v1.Image, program string) map[string]*tar.Header {
	t.Helper()
	files := map[string]*tar.Header{}
	stream := mutate.Extract(img)
	defer stream.Close()
	for r := tar.NewReader(stream); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[strings.TrimSuffix(h.Name, "/")] = h
		switch h.Name {
		case "ackmark":
			if err := os.WriteFile(program, data, 0o755); err != nil {
				t.Fatal(err)
			}
		case "etc/ssl/certs/ca-certificates.crt":
			if !x509.NewCertPool().AppendCertsFromPEM(data) || bytes.Count(data, []byte("BEGIN CERTIFICATE")) < 100 {
				t.Errorf("%d bytes of certificate authorities, which cannot be read, or are few", len(data))
			}
		}
	}
}

func TestTheImage(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the program in it runs on Linux")
	}
	dir := t.TempDir()
	// The second one from another directory, which must not show.
	elsewhere := filepath.Join(dir, "elsewhere")
	if out, err := exec.CommandContext(t.Context(), "git", "-c", "safe.directory=*", "clone", "--quiet", "--no-hardlinks", "../..", elsewhere).CombinedOutput(); err != nil {
		t.Fatalf("git clone: %v\n%s", err, out)
	}
	third := filepath.Join(dir, "third")
	if err := os.CopyFS(third, os.DirFS(elsewhere)); err != nil {
		t.Fatal(err)
	}
	var digests, boms []string
	for _, source := range []string{elsewhere, third} {
		b := build{source: source, out: filepath.Join(dir, "image"), version: "1.2.3", platforms: []string{"linux/" + runtime.GOARCH}}
		digest, err := b.run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, digest)
		bom, err := os.ReadFile(filepath.Join(dir, "image", "ackmark_linux_"+runtime.GOARCH+".spdx.json"))
		if err != nil {
			t.Fatal(err)
		}
		boms = append(boms, string(bom))
	}
	if digests[0] != digests[1] {
		t.Errorf("the same sources made %s", digests)
	}
	if boms[0] != boms[1] {
		t.Error("the same sources made two bills of materials")
	}
	img := read(t, filepath.Join(dir, "image"))
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	revision := config.Config.Labels["org.opencontainers.image.revision"]
	if c := config.Config; len(c.Entrypoint) != 1 || c.Entrypoint[0] != "/ackmark" || c.User != "65532:65532" || len(c.Cmd) > 0 || len(c.Env) > 0 || len(revision) != 40 ||
		c.Labels["org.opencontainers.image.version"] != "1.2.3" {
		t.Errorf("the image's configuration is %+v", c)
	}
	if config.Created.Unix() == 0 || time.Since(config.Created.Time) < 0 || config.OS != "linux" {
		t.Errorf("made at %s for %s", config.Created, config.OS)
	}
	program := filepath.Join(dir, "ackmark")
	files := unpack(t, img, program)
	for name, mode := range map[string]int64{"ackmark": 0o755, "etc/passwd": 0o644, "etc/group": 0o644, "etc/ssl/certs/ca-certificates.crt": 0o644, "tmp": 0o1777} {
		if h := files[name]; h == nil || h.Mode != mode || h.Uid != 0 || !h.ModTime.Equal(config.Created.Time) {
			t.Errorf("%s in the image: %+v", name, h)
		}
	}
	data, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(data); !strings.Contains(boms[0], hex.EncodeToString(sum[:])) || !strings.Contains(boms[0], revision) {
		t.Errorf("the bill of materials is not of the program in the image: %s", boms[0])
	}
	out, err := exec.CommandContext(t.Context(), program, "version").Output()
	if err != nil || !strings.Contains(string(out), "commit "+revision) {
		t.Errorf("ackmark version says %q, %v, want the commit %s", out, err, revision)
	}
	runDemo(t, program)
}

// runDemo runs the program as the container does: nothing around it but its /tmp.
func runDemo(t *testing.T, program string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "demo", "--records", "500", "--kills", "1", "--json")
	cmd.Env = []string{"TMPDIR=" + t.TempDir()}
	out, err := cmd.Output()
	var result struct {
		Ackmark struct{ Inputs, Lost int }
	}
	if err := errors.Join(err, json.Unmarshal(out, &result)); err != nil || result.Ackmark.Lost != 0 {
		t.Errorf("ackmark demo: %v, %+v\n%s", withStderr(err), result, out)
	}
}
