// Command protobreaking fails if the .proto files of a directory break a peer that was built from
// an earlier version of them: the wire contract only grows.
//
//	go -C tools run ./protobreaking ../sidecar/sidecarpb
//	go -C tools run ./protobreaking -against main ../sidecar/sidecarpb
//
// Without -against it compares with every version from the last release tag (v*) on, or, while
// there is no tag, with every version in the history of HEAD: a checkout of main has no other
// branch to compare itself with, and a break must not pass because a second commit followed it.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/linker"
)

func main() {
	against := flag.String("against", "", "compare with this commit, branch or tag only")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: protobreaking [-against REF] DIR   (the directory in a git checkout that holds the .proto files)")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(context.Background(), flag.Arg(0), *against); err != nil {
		fmt.Fprintln(os.Stderr, "protobreaking:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dir, against string) error {
	r := repo{dir}
	sources, err := r.worktree(ctx)
	if err != nil {
		return err
	}
	now, err := compile(ctx, sources)
	if err != nil {
		return err
	}
	versions := []string{against}
	if against == "" {
		if versions, err = r.versions(ctx); err != nil {
			return err
		}
	}
	var all []error
	for _, version := range versions {
		sources, err := r.at(ctx, version)
		if err != nil {
			return err
		}
		then, err := compile(ctx, sources)
		if err != nil {
			return fmt.Errorf("at %s: %w", version, err)
		}
		for _, b := range breaks(then, now) {
			all = append(all, fmt.Errorf("since %s: %s", version, b))
		}
	}
	if len(all) > 0 {
		return fmt.Errorf("a peer of before would misread this: add beside what is there, or begin a new package\n%w", errors.Join(all...))
	}
	fmt.Printf("nothing breaks: %d earlier versions, %d .proto files\n", len(versions), len(now))
	return nil
}

// compile makes descriptors of the files, by name.
func compile(ctx context.Context, sources map[string]string) (linker.Files, error) {
	var names []string
	for name := range sources {
		names = append(names, name)
	}
	slices.Sort(names)
	compiler := protocompile.Compiler{
		Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{
			Accessor: protocompile.SourceAccessorFromMap(sources),
		}),
	}
	return compiler.Compile(ctx, names...)
}

// repo is a directory of a git checkout.
type repo struct{ dir string }

func (r repo) git(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", r.dir}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("git %s in %s: %w: %s", strings.Join(args, " "), r.dir, err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}

// versions are the commits to compare with: the last release, and who changed a .proto file since.
func (r repo) versions(ctx context.Context) ([]string, error) {
	shallow, err := r.git(ctx, "rev-parse", "--is-shallow-repository")
	if err != nil {
		return nil, err
	}
	if strings.TrimSpace(shallow) == "true" {
		return nil, errors.New("this checkout has no history to compare with: git fetch --unshallow --tags")
	}
	var versions []string
	since := "HEAD"
	if tag, err := r.git(ctx, "describe", "--tags", "--abbrev=0", "--match", "v*"); err == nil {
		release := strings.TrimSpace(tag)
		versions, since = append(versions, release), release+"..HEAD"
	}
	log, err := r.git(ctx, "log", "--diff-filter=ACMRT", "--format=%h", since, "--", "*.proto")
	versions = append(versions, strings.Fields(log)...)
	if err == nil && len(versions) == 0 {
		err = fmt.Errorf("no commit has a .proto file below %s: nothing was compared", r.dir)
	}
	return versions, err
}

// at reads the .proto files that a version had.
func (r repo) at(ctx context.Context, version string) (map[string]string, error) {
	list, err := r.git(ctx, "ls-tree", "-r", "-z", "--name-only", version, "--", ".")
	if err != nil {
		return nil, err
	}
	names := protoNames(list)
	if len(names) == 0 {
		return nil, fmt.Errorf("%s has no .proto file below %s: nothing was compared", version, r.dir)
	}
	sources := map[string]string{}
	for _, name := range names {
		if sources[name], err = r.git(ctx, "show", version+":./"+name); err != nil {
			return nil, err
		}
	}
	return sources, nil
}

// worktree reads the files as they are now, committed or not.
func (r repo) worktree(ctx context.Context) (map[string]string, error) {
	names, err := r.git(ctx, "ls-files", "-z", "-co", "--exclude-standard")
	if err != nil {
		return nil, err
	}
	sources := map[string]string{}
	for _, name := range protoNames(names) {
		text, err := os.ReadFile(filepath.Join(r.dir, name))
		if errors.Is(err, os.ErrNotExist) {
			continue // removed, and git has not been told: the comparison tells
		}
		if err != nil {
			return nil, err
		}
		sources[name] = string(text)
	}
	return sources, nil
}

func protoNames(list string) []string {
	return slices.DeleteFunc(strings.Split(list, "\x00"), func(name string) bool {
		return !strings.HasSuffix(name, ".proto")
	})
}
