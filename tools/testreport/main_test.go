package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	pass   = `{"Action":"pass","Package":"p","Test":"TestA"}` + "\n"
	skip   = `{"Action":"output","Package":"p","Test":"TestB","Output":"    b_test.go:1: no Java here\n"}` + "\n" + `{"Action":"skip","Package":"p","Test":"TestB"}` + "\n"
	failed = `{"Action":"output","Package":"p","Test":"TestC","Output":"    c_test.go:1: got 2\n"}` + "\n" + `{"Action":"fail","Package":"p","Test":"TestC"}` + "\n"
	panics = `{"Action":"output","Package":"p","Test":"TestD","Output":"panic: dead\n"}` + "\n" + `{"Action":"fail","Package":"p"}` + "\n"
	build  = `{"Action":"build-output","ImportPath":"p","Output":"undefined: x\n"}` + "\n" + `{"Action":"build-fail","ImportPath":"p"}` + "\n"
	okLine = `{"Action":"output","Package":"p","Output":"ok  \tp\t0.1s\n"}` + "\n" + `{"Action":"pass","Package":"p"}` + "\n"
)

func TestVerdicts(t *testing.T) {
	java := regexp.MustCompile("no Java")
	for name, c := range map[string]struct {
		in      string
		allow   patterns
		later   patterns
		err     string // "": none
		printed string
	}{
		"passes":            {pass + okLine, nil, nil, "", "ok  \tp\t0.1s\n"},
		"skip refused":      {pass + skip, nil, nil, "skipped for reasons", "p TestB: b_test.go:1: no Java here"},
		"skip allowed":      {pass + skip, patterns{java}, nil, "", "1 skipped as allowed"},
		"skip for later":    {pass + skip + skip, nil, patterns{java}, "", "2 skipped as allowed"},
		"a test fails":      {pass + failed, nil, nil, "p TestC", "got 2"},
		"a test panics":     {pass + panics, nil, nil, "failed: p", "TestD did not end:\npanic: dead"},
		"it does not build": {build, nil, nil, "p (build)", "undefined: x"},
		"nothing ran":       {okLine, nil, nil, "no test ran", "0 tests passed"},
		"not JSON":          {"go: cannot find main module\n", nil, nil, "no test ran", "cannot find main module"},
	} {
		var out strings.Builder
		r := report{allow: c.allow, later: c.later, out: &out, tests: map[id]*strings.Builder{}, packages: map[string]*strings.Builder{}}
		err := r.read(strings.NewReader(c.in))
		if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: error %v, want %q", name, err, c.err)
		}
		if !strings.Contains(out.String(), c.printed) {
			t.Errorf("%s: printed %q", name, out.String())
		}
		if want := c.later != nil; want != slices.Equal(r.postponed, []string{"p"}) {
			t.Errorf("%s: packages for later: %q", name, r.postponed)
		}
	}
}

// A test that failed is run again by its name; what a panic ended, whole.
func TestAgain(t *testing.T) {
	sub := strings.ReplaceAll(failed, "TestC", "TestC/sub")
	end := `{"Action":"fail","Package":"p"}` + "\n"
	dies := strings.ReplaceAll(failed, "got 2", "panic: dead")
	for name, c := range map[string]struct{ in, want string }{
		"none":              {pass + okLine, ""},
		"a test and a part": {failed + sub + end, "p ^(TestC)$"},
		"two tests":         {failed + strings.ReplaceAll(failed, "TestC", "TestE") + end, "p ^(TestC|TestE)$"},
		"no test of it":     {end, "p ."},
		"it does not build": {build, "p ."},
		"it panics":         {dies + end, "p ."},
		"one did not end":   {failed + panics, "p ."},
	} {
		r := report{out: new(strings.Builder), tests: map[id]*strings.Builder{}, packages: map[string]*strings.Builder{}}
		_ = r.read(strings.NewReader(c.in))
		if got := strings.Join(r.again(), "\n"); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
