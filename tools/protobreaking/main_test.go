package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const contract = `syntax = "proto3";
package p.v1;
message M {
  reserved 9;
  reserved "old";
  string a = 1;
  repeated int32 b = 2;
  optional bytes c = 3;
  Kind d = 4;
  oneof what { string e = 5; Inner f = 6; }
  int64 g = 7;
  message Inner { string x = 1; }
}
enum Kind { KIND_UNSPECIFIED = 0; KIND_ONE = 1; }
message Other {}
service S {
  rpc Do(M) returns (stream Other);
}
`

func TestWhatBreaksAPeer(t *testing.T) {
	for _, test := range []struct{ old, new, want string }{
		{"", "", ""},
		{"string a = 1;", "string a = 1; string z = 10;", ""},
		{"int64 g = 7;", "optional int64 g = 7;", ""},
		{"KIND_ONE = 1;", "KIND_ONE = 1; KIND_TWO = 2;", ""},
		{"rpc Do", "rpc More(M) returns (M); rpc Do", ""},
		{"string a = 1;", "", "p.v1.M.a: field 1 is gone"},
		{"string a = 1;", `reserved 1; reserved "a";`, "p.v1.M.a: field 1 is gone"},
		{"string a = 1;", "string a = 11;", "p.v1.M.a: field 1 is gone"},
		{"string a = 1;", "string aa = 1;", "p.v1.M.a: name was a, is aa; p.v1.M.a: JSON name was a, is aa"},
		{"string a = 1;", `string a = 1 [json_name="q"];`, "p.v1.M.a: JSON name was a, is q"},
		{"string a = 1;", "bytes a = 1;", "p.v1.M.a: type was string, is bytes"},
		{"Inner f = 6;", "Other f = 6;", "p.v1.M.f: type was message p.v1.M.Inner, is message p.v1.Other"},
		{"repeated int32 b = 2;", "int32 b = 2;", "p.v1.M.b: repeated was true, is false"},
		{"optional bytes c = 3;", "bytes c = 3;", "p.v1.M.c: was optional, and absent is no longer told from zero"},
		{"string e = 5;", "string e = 5; int64 z = 12;", ""},
		{"oneof what { string e = 5;", "string e = 5; oneof what {", "p.v1.M.e: oneof was what, is "},
		{"reserved 9;", "", "p.v1.M: number 9 was reserved"},
		{`reserved "old";`, "", `p.v1.M: name "old" was reserved`},
		{"string x = 1;", "", "p.v1.M.Inner.x: field 1 is gone"},
		{"KIND_ONE = 1;", "", "p.v1.KIND_ONE: number 1 is gone"},
		{"KIND_ONE = 1;", "KIND_UN = 1;", "p.v1.KIND_ONE: name was KIND_ONE, is KIND_UN"},
		{"(stream Other)", "(Other)", "p.v1.S.Do: stream of responses was true, is false"},
		{"Do(M)", "Do(stream M)", "p.v1.S.Do: stream of requests was false, is true"},
		{"Do(M)", "Do(Other)", "p.v1.S.Do: request was p.v1.M, is p.v1.Other"},
		{"(stream Other)", "(stream M)", "p.v1.S.Do: response was p.v1.Other, is p.v1.M"},
		{"rpc Do(M) returns (stream Other);", "", "p.v1.S.Do: is gone"},
		{"service S {", "service T {", "p.v1.S: is gone"},
	} {
		if !strings.Contains(contract, test.old) {
			t.Fatalf("%q is not in the contract of this test", test.old)
		}
		after := strings.Replace(contract, test.old, test.new, 1)
		got := strings.Join(broken(t, map[string]string{"p.proto": contract}, map[string]string{"p.proto": after}), "; ")
		if got != test.want {
			t.Errorf("%q for %q: %q, want %q", test.new, test.old, got, test.want)
		}
	}
	other := map[string]string{"q.proto": contract}
	if got := broken(t, map[string]string{"p.proto": contract}, other); len(got) != 1 || !strings.Contains(got[0], "file p.proto is gone") {
		t.Errorf("a file that is gone: %q", got)
	}
}

func broken(t *testing.T, before, after map[string]string) []string {
	t.Helper()
	a, err := compile(t.Context(), before)
	if err != nil {
		t.Fatal(err)
	}
	b, err := compile(t.Context(), after)
	if err != nil {
		t.Fatal(err)
	}
	return breaks(a, b)
}

// A break that a later commit follows is found as well as one that is not committed yet; from a
// release on, what was before it binds nobody.
func TestComparesWithEveryVersionSinceTheLastRelease(t *testing.T) {
	dir := t.TempDir()
	git := func(args ...string) {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false", "-c", "tag.gpgsign=false"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "p.proto"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	check := func(against, want string) {
		t.Helper()
		err := run(context.Background(), dir, against)
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	git("init", "-q", "-b", "main")
	write(contract)
	check("", "git log")
	git("commit", "-q", "--allow-empty", "-m", "zero")
	check("", "nothing was compared")
	check("HEAD", "nothing was compared")
	git("add", ".")
	git("commit", "-q", "-m", "one")
	check("", "")
	renamed := strings.Replace(contract, "string a = 1;", "string z = 1;", 1)
	write(renamed)
	check("", "name was a, is z")
	git("commit", "-q", "-a", "-m", "two")
	write(renamed + "message Third {}\n")
	git("commit", "-q", "-a", "-m", "three")
	check("", "name was a, is z")
	check("HEAD~1", "")
	check("HEAD~2", "name was a, is z")
	check("nowhere", "nowhere")
	git("tag", "v0.1.0")
	check("", "")
	git("tag", "-d", "v0.1.0")
	git("rm", "-q", "p.proto")
	check("", "file p.proto is gone")
}
