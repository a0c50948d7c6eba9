package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// user is distroless' nonroot, whom deploy/ names, too.
const user = "65532:65532"

// base is what Dockerfile puts the binary onto; the files of ground are what it uses of it.
const base = "gcr.io/distroless/static-debian12:nonroot"

// flags make the same bytes of the same commit, stamped with it. Dockerfile and .goreleaser.yaml
// have them, too.
var flags = []string{"-trimpath", "-buildvcs=true", "-ldflags=-s -w -buildid="}

type build struct {
	source, out, version string
	platforms            []string
}

// run builds all platforms and returns the digest of the index.
func (b *build) run(ctx context.Context) (string, error) {
	commit, at, err := b.commit(ctx)
	if err != nil {
		return "", err
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	boms := map[string][]byte{}
	for _, p := range b.platforms {
		system, machine, ok := strings.Cut(p, "/")
		if !ok || system != "linux" {
			return "", fmt.Errorf("-platforms has %q: write linux/amd64 or linux/arm64", p)
		}
		binary, err := b.compile(ctx, system, machine)
		if err != nil {
			return "", err
		}
		if boms["ackmark_"+system+"_"+machine+".spdx.json"], err = b.bom(ctx, binary); err != nil {
			return "", err
		}
		img, err := b.image(binary, system, machine, commit, at)
		if err != nil {
			return "", err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: system, Architecture: machine}}})
	}
	if err := os.RemoveAll(b.out); err != nil {
		return "", err
	}
	if _, err := layout.Write(b.out, index); err != nil {
		return "", err
	}
	for name, data := range boms {
		if err := os.WriteFile(filepath.Join(b.out, name), data, 0o644); err != nil {
			return "", err
		}
	}
	digest, err := index.Digest()
	return digest.String(), err
}

// commit is what the checkout stands at, and when it was made: the time of everything in the image.
func (b *build) commit(ctx context.Context) (id string, at time.Time, err error) {
	cmd := exec.CommandContext(ctx, "git", "log", "-1", "--format=%H %ct")
	cmd.Dir, cmd.Env = b.source, environment()
	out, err := cmd.Output()
	if err != nil {
		return "", at, fmt.Errorf("git log in %s: %w", b.source, withStderr(err))
	}
	id, seconds, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	n, err := strconv.ParseInt(seconds, 10, 64)
	return id, time.Unix(n, 0).UTC(), err
}

// environment lets git look at a checkout that belongs to somebody else, as it does in CI.
func environment() []string {
	return append(os.Environ(), "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*")
}

func withStderr(err error) error {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return fmt.Errorf("%w: %s", err, bytes.TrimSpace(exit.Stderr))
	}
	return err
}

// compile builds the static binary. Go's toolchain stamps it with the commit.
func (b *build) compile(ctx context.Context, system, machine string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "ackmark-image-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "ackmark")
	cmd := exec.CommandContext(ctx, "go", slices.Concat([]string{"build"}, flags, []string{"-o", path, "./cmd/ackmark"})...)
	cmd.Dir = b.source
	cmd.Env = append(environment(), "CGO_ENABLED=0", "GOOS="+system, "GOARCH="+machine, "GOAMD64=v1", "GOFLAGS=", "GOWORK=off", "GOTOOLCHAIN=local")
	if _, err := cmd.Output(); err != nil {
		return nil, fmt.Errorf("go build for %s/%s: %w", system, machine, withStderr(err))
	}
	return os.ReadFile(path)
}

// bom is the bill of materials of a binary, by the tool of the same checkout.
func (b *build) bom(ctx context.Context, binary []byte) ([]byte, error) {
	dir, err := os.MkdirTemp("", "ackmark-sbom-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "ackmark")
	if err := os.WriteFile(path, binary, 0o600); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "go", "-C", filepath.Join(b.source, "tools"), "run", "-buildvcs=false", "./sbom", path)
	cmd.Env = append(environment(), "GOFLAGS=", "GOWORK=off", "GOTOOLCHAIN=local")
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("the bill of materials: %w", withStderr(err))
	}
	return out, nil
}

func (b *build) image(binary []byte, system, machine, commit string, at time.Time) (v1.Image, error) {
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for _, files := range [][]file{ground(), {{"ackmark", 0o755, binary}}} {
		data, err := archive(files, at)
		if err != nil {
			return nil, err
		}
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }, tarball.WithMediaType(types.OCILayer))
		if err != nil {
			return nil, err
		}
		if img, err = mutate.Append(img, mutate.Addendum{Layer: layer, History: v1.History{Created: v1.Time{Time: at}, CreatedBy: "tools/image"}}); err != nil {
			return nil, err
		}
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created = system, machine, v1.Time{Time: at}
	config.Config = v1.Config{
		Entrypoint: []string{"/ackmark"}, User: user, WorkingDir: "/",
		Labels: map[string]string{
			"org.opencontainers.image.title": "ackmark", "org.opencontainers.image.licenses": "Apache-2.0",
			"org.opencontainers.image.description": "The Kafka producer of a pod, and the tools around it",
			"org.opencontainers.image.source":      "https://github.com/ackmark/ackmark",
			"org.opencontainers.image.version":     b.version, "org.opencontainers.image.revision": commit,
			"org.opencontainers.image.created": at.Format(time.RFC3339),
		},
	}
	return mutate.ConfigFile(img, config)
}
