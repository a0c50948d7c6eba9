package kgoopt

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// kgoOptions reads the names of all options from the source of the version in go.mod: exported
// functions whose one result is an Opt.
func kgoOptions(t *testing.T) []string {
	t.Helper()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-f", "{{.Dir}}", "github.com/twmb/franz-go/pkg/kgo").Output()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Recv != nil || !fn.Name.IsExported() || fn.Type.Results == nil || len(fn.Type.Results.List) != 1 {
				continue
			}
			result, ok := fn.Type.Results.List[0].Type.(*ast.Ident)
			if ok && slices.Contains([]string{"Opt", "ProducerOpt", "ConsumerOpt", "GroupOpt"}, result.Name) {
				names = append(names, fn.Name.Name)
			}
		}
	}
	return names
}

func TestEveryOptionIsDecided(t *testing.T) {
	names := kgoOptions(t)
	if len(names) < 90 {
		t.Fatalf("%d options found in kgo's source: is that all?", len(names))
	}
	for _, name := range names {
		if _, ok := table[name]; !ok {
			t.Errorf("kgo.%s is not in the table: decide what becomes of it for the consumer, the direct producer and the sidecar", name)
		}
	}
	for name, byRole := range table {
		if !slices.Contains(names, name) {
			t.Errorf("%s is no option of this kgo: take it out of the table", name)
		}
		for role, v := range byRole {
			refused := v.fate == Refused || v.fate == RefusedIfChanged
			if v.fate == Undecided || refused != (v.reason != "") || refused != (v.remedy != "") {
				t.Errorf("%s, role %d: %+v", name, role, v)
			}
		}
	}
}

// The second net needs a value to look at.
func TestOptionsHaveValues(t *testing.T) {
	cl, err := kgo.NewClient()
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for name := range table {
		if len(cl.OptValues(name)) == 0 {
			t.Errorf("kgo tells no value of %s: it is known by its name alone", name)
		}
	}
}

// The names survive every way in which the compiler can inline an option: directly, from a closure,
// through a variable.
func TestName(t *testing.T) {
	variable := kgo.AutoCommitMarks
	for _, o := range []kgo.Opt{
		kgo.AutoCommitMarks(), variable(), func() kgo.Opt { return kgo.AutoCommitMarks() }(),
		func() kgo.Opt { return func() kgo.Opt { return kgo.AutoCommitMarks() }() }(), makeOption(kgo.AutoCommitMarks),
	} {
		if name := Name(o); name != "AutoCommitMarks" {
			t.Errorf("got %q", name)
		}
	}
	if name := Name(nil); name != "" {
		t.Errorf("got %q", name)
	}
}

//go:noinline
func makeOption[T kgo.Opt](fn func() T) kgo.Opt { return fn() }

func TestCheck(t *testing.T) {
	opts := []kgo.Opt{kgo.ClientID("x"), kgo.TransactionalID("id"), kgo.DisableAutoCommit()}
	for role := range roles {
		got := Check(role, opts)
		if role == Sidecar {
			if len(got) != 0 {
				t.Errorf("the sidecar's options are judged by value: %+v", got)
			}
			continue
		}
		if len(got) != 1 || got[0].Index != 1 || got[0].Option != "TransactionalID" || got[0].Reason == "" || got[0].Remedy == "" {
			t.Errorf("role %d: %+v", role, got)
		}
	}
}

// An option that a newer client has is not taken on trust.
func TestUnknownOption(t *testing.T) {
	delete(table, "ClientID")
	defer func() { table["ClientID"] = always }()
	if got := Check(Direct, []kgo.Opt{kgo.ClientID("x")}); len(got) != 1 || !strings.Contains(got[0].Remedy, "newer Ackmark") {
		t.Errorf("%+v", got)
	}
}

func TestCheckValues(t *testing.T) {
	plain, err := kgo.NewClient()
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	for role := range roles {
		if got := CheckValues(role, plain, plain); len(got) != 0 {
			t.Errorf("role %d: without options: %+v", role, got)
		}
	}
	theirs, err := kgo.NewClient(kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite(), kgo.RecordRetries(3))
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	var names []string
	for _, r := range CheckValues(Sidecar, theirs, plain) {
		names = append(names, r.Option)
	}
	if want := []string{"DisableIdempotentWrite", "RecordRetries", "RequiredAcks"}; !slices.Equal(names, want) {
		t.Errorf("got %v, want %v", names, want)
	}
}
