// Command release builds what .goreleaser.yaml says, without goreleaser and its archives: the
// program for each system with its bill of materials, and the checksums of them. The configuration
// is read strictly, with goreleaser's own types.
package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"

	"github.com/goreleaser/goreleaser/v2/pkg/config"
)

func main() {
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	r := release{}
	flag.StringVar(&r.source, "source", "../..", "the checkout")
	flag.StringVar(&r.out, "o", "../../dist/release", "the directory to write to; what is there is replaced")
	only := flag.String("targets", "", "what to build for, comma separated, like linux/amd64; all that the configuration has without it")
	flag.Parse()
	if *only != "" {
		r.only = strings.Split(*only, ",")
	}
	if err := r.run(ctx); err != nil {
		log.Fatal("release: ", err)
	}
}

type release struct {
	source, out string
	only        []string
}

func (r *release) run(ctx context.Context) (err error) {
	for _, p := range []*string{&r.source, &r.out} {
		if *p, err = filepath.Abs(*p); err != nil {
			return err
		}
	}
	c, err := config.Load(filepath.Join(r.source, ".goreleaser.yaml"))
	if err != nil {
		return fmt.Errorf(".goreleaser.yaml: %w", err)
	}
	if err := os.RemoveAll(r.out); err != nil {
		return err
	}
	for _, hook := range c.Before.Hooks {
		if err := r.command(ctx, nil, strings.Fields(hook)...); err != nil {
			return err
		}
	}
	for _, b := range c.Builds {
		targets := r.only
		if len(targets) == 0 {
			targets = targetsOf(&b)
		}
		for _, target := range targets {
			if err := r.build(ctx, &b, target); err != nil {
				return err
			}
		}
	}
	return r.checksums()
}

func targetsOf(b *config.Build) (all []string) {
	for _, system := range b.Goos {
		for _, machine := range b.Goarch {
			all = append(all, system+"/"+machine)
		}
	}
	return all
}

func (r *release) build(ctx context.Context, b *config.Build, target string) error {
	system, machine, _ := strings.Cut(target, "/")
	dir := filepath.Join(r.out, b.Binary+"_"+system+"_"+machine)
	program := filepath.Join(dir, b.Binary)
	if system == "windows" {
		program += ".exe"
	}
	args := append([]string{"go", "build"}, b.Flags...)
	args = append(args, "-ldflags="+strings.Join(b.Ldflags, " "), "-o", program, b.Main)
	env := append([]string{"GOOS=" + system, "GOARCH=" + machine, "GOAMD64=" + strings.Join(b.Goamd64, ""), "GOFLAGS=", "GOWORK=off"}, b.Env...)
	if err := r.command(ctx, env, args...); err != nil {
		return err
	}
	return r.command(ctx, nil, "go", "-C", "tools", "run", "-buildvcs=false", "./sbom", "-o", dir+".spdx.json", program)
}

// command runs in the checkout, which may belong to somebody else, as it does in CI.
func (r *release) command(ctx context.Context, env []string, args ...string) error {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = r.source
	cmd.Env = append(append(os.Environ(), "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// checksums writes those of all files, as `sha256sum -c` reads them.
func (r *release) checksums() error {
	var lines strings.Builder
	err := filepath.WalkDir(r.out, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(name)
		rel, relErr := filepath.Rel(r.out, name)
		fmt.Fprintf(&lines, "%x  %s\n", sha256.Sum256(data), filepath.ToSlash(rel))
		return cmp.Or(err, relErr)
	})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(r.out, "checksums.txt"), []byte(lines.String()), 0o644) //nolint:gosec // to be read by everybody
}
