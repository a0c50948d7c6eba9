// Command wrapcomments wraps comments of Go files that are wider than 100 columns, paragraph by
// paragraph. Lists, indented text, directives, block comments and comments behind code stay as they
// are. With -check it writes nothing, names each place and exits 1.
//
//	go -C tools run ./wrapcomments -check ..
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	check := flag.Bool("check", false, "write nothing; fail if a comment is too wide")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: wrapcomments [-check] FILE-OR-DIR...")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(flag.Args(), *check); err != nil {
		fmt.Fprintln(os.Stderr, "wrapcomments:", err)
		os.Exit(1)
	}
}

func run(roots []string, check bool) error {
	var wide []error
	for _, root := range roots {
		err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() {
				if base := d.Name(); name != root && (base == "testdata" || base == "vendor" || strings.HasPrefix(base, ".")) {
					return filepath.SkipDir
				}
				return nil
			}
			if !strings.HasSuffix(name, ".go") {
				return nil
			}
			places, err := file(name, check)
			wide = append(wide, places...)
			return err
		})
		if err != nil {
			return err
		}
	}
	if check && len(wide) > 0 {
		return fmt.Errorf("wider than %d columns: run it without -check\n%w", columns, errors.Join(wide...))
	}
	return nil
}

// file wraps one file, or tells where it would.
func file(name string, check bool) (places []error, err error) {
	source, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	wrapped, lines, err := wrap(source)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	for _, line := range lines {
		places = append(places, fmt.Errorf("%s:%d", name, line))
	}
	if check || bytes.Equal(source, wrapped) {
		return places, nil
	}
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	return places, os.WriteFile(name, wrapped, info.Mode().Perm())
}
