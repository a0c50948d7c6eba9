package kgoopt

import (
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/configerr"
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
			refused := v.handling == Refused || v.handling == RefusedIfChanged || v.bad != nil
			if v.handling == Undecided || refused != (v.reason != "") || refused != (v.remedy != "") {
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

// refusals are the errors of Check, each in its text.
func refusals(t *testing.T, role Role, opts ...kgo.Opt) []string {
	t.Helper()
	cl, err := Check(role, opts)
	if err == nil {
		cl.Close()
		return nil
	}
	if e, ok := errors.AsType[*configerr.Error](err); !ok || e.Config != configs[role] || e.Remedy == "" {
		t.Errorf("role %d: %#v", role, err)
	}
	return strings.Split(err.Error(), "\n")
}

// Each option is refused in the words of the role's own configuration, at its place, all at once.
func TestCheck(t *testing.T) {
	opts := []kgo.Opt{kgo.ClientID("x"), kgo.TransactionalID("id"), kgo.DisableAutoCommit(), nil}
	for role, want := range []string{
		Consumer: "consumer: Config.Options[1] is kgo.TransactionalID: this client only reads; give it to the producer",
		Direct:   "producer: DirectConfig.Options[1] is kgo.TransactionalID: this producer does not begin transactions",
		Sidecar:  "", // by its value
	} {
		got := refusals(t, Role(role), opts...)
		if want != "" {
			if !strings.HasPrefix(got[0], want) {
				t.Errorf("role %d: got %q", role, got)
			}
			got = got[1:]
		}
		if len(got) != 1 || !strings.HasSuffix(got[0], "onfig.Options[3] is nil: drop it") {
			t.Errorf("role %d: got %q", role, got)
		}
	}
	if got := refusals(t, Direct, kgo.ConsumerGroup("a"), kgo.BrokerMaxReadBytes(-1)); len(got) != 1 {
		t.Errorf("a client was made from options that are refused: %q", got)
	}
	if got := refusals(t, Direct, kgo.BrokerMaxReadBytes(-1)); len(got) != 1 || !strings.Contains(got[0], "Options is refused by the Kafka client: ") {
		t.Errorf("got %q", got)
	}
}

// An option that a newer client has is not taken on trust.
func TestUnknownOption(t *testing.T) {
	before := table["ClientID"]
	delete(table, "ClientID")
	defer func() { table["ClientID"] = before }()
	if got := refusals(t, Direct, kgo.ClientID("x")); len(got) != 1 || !strings.Contains(got[0], "newer Ackmark") {
		t.Errorf("%q", got)
	}
}

// unnamed hides an option's name, as a wrapper of a later client could.
type unnamed struct{ kgo.Opt }

// The second net: what is refused is known by its value, too, if its name cannot be seen.
func TestCheckValues(t *testing.T) {
	ends, cancel := context.WithCancel(t.Context())
	defer cancel()
	opts := []kgo.Opt{
		unnamed{kgo.RequiredAcks(kgo.LeaderAck())}, unnamed{kgo.DisableIdempotentWrite()}, unnamed{kgo.RecordRetries(3)},
		unnamed{kgo.RecordPartitioner(kgo.ManualPartitioner())}, unnamed{kgo.WithContext(ends)},
	}
	for role, want := range [][]string{
		Consumer: nil,
		Direct:   {"DisableIdempotentWrite", "RecordPartitioner", "RecordRetries", "RequiredAcks"},
		Sidecar:  {"DisableIdempotentWrite", "RecordPartitioner", "RecordRetries", "RequiredAcks", "WithContext"},
	} {
		got := refusals(t, Role(role), opts...)
		if len(got) != len(want) {
			t.Errorf("role %d: got %q", role, got)
			continue
		}
		for i, name := range want {
			if !strings.Contains(got[i], "onfig.Options is kgo."+name+": ") {
				t.Errorf("role %d: got %q, want %s", role, got[i], name)
			}
		}
		if got := refusals(t, Role(role)); got != nil {
			t.Errorf("role %d: without options: %q", role, got)
		}
	}
	if got := refusals(t, Sidecar, kgo.WithContext(context.WithoutCancel(ends))); got != nil {
		t.Errorf("a context that never ends: %q", got)
	}
}
