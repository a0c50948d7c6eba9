// Package atonce lets tests that mostly wait run at once, more of them than there are processors.
package atonce

import (
	"flag"
	"strconv"
)

const parallel = "test.parallel"

// Tests has n tests that called t.Parallel run at once. Of itself go test takes as many as there
// are processors. What its -parallel asks for goes before. For a TestMain, before it runs its
// tests.
func Tests(n int) {
	flag.Parse()
	asked := false
	flag.Visit(func(f *flag.Flag) { asked = asked || f.Name == parallel })
	if asked {
		return
	}
	if err := flag.Set(parallel, strconv.Itoa(n)); err != nil {
		panic("atonce: " + err.Error()) // this is no test
	}
}
