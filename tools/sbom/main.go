// Command sbom writes the bill of materials of a Go program as SPDX 2.3 in JSON: each module that
// is linked into it, with its version and the sum that go.sum has for it. It reads what Go's
// toolchain has written into the program, for whatever system that is, and nothing else: the same
// program makes the same bytes.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("sbom: ")
	out := flag.String("o", "", "the file to write; standard output without it")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: sbom [-o FILE] PROGRAM")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	data, err := describe(flag.Arg(0))
	if err != nil {
		log.Fatal(err)
	}
	if *out == "" {
		_, err = os.Stdout.Write(data)
	} else {
		err = os.WriteFile(*out, data, 0o644) //nolint:gosec // to be read by everybody, as what lies beside it
	}
	if err != nil {
		log.Fatal(err)
	}
}
