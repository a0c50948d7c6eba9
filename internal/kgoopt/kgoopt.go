// Package kgoopt decides what becomes of every option of the Kafka client that a user may hand
// over: to the consumer, to the direct producer, to the sidecar. One table has them all, and a test
// fails when franz-go has an option that nobody decided about.
//
// An option is a closure: nothing but the name of the function that made it, and what a client made
// from it says of itself, tells what it is. So each is looked at twice, by name and by value.
package kgoopt

import (
	"context"
	"fmt"
	"reflect"
	"regexp"
	"runtime"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Role is whose client the options are for.
type Role int

// The roles.
const (
	Consumer Role = iota
	Direct
	Sidecar
	roles
)

// Fate is what becomes of an option.
type Fate int

// The fates.
const (
	// Undecided is that of an option that is not in the table: refused, because nobody has looked
	// whether the promises hold with it.
	Undecided Fate = iota
	// Taken options reach the client as they are. Some have no effect there: a client that only
	// reads does not mind how batches are compressed.
	Taken
	// Merged options stand in for a field of the configuration, or are held against it.
	Merged
	// Ours are set to one value whatever is given; the option says the same, or nothing of
	// interest.
	Ours
	// Judged options are refused by their value, by the package that takes them.
	Judged
	// Refused options break a promise.
	Refused
	// RefusedIfChanged options break a promise unless they say what holds without them.
	RefusedIfChanged
)

// verdict is what becomes of an option in one role. The reason and the remedy are of refusals.
type verdict struct {
	fate           Fate
	reason, remedy string
}

// Refusal is an option that may not be given.
type Refusal struct {
	// Index is its place among the options; -1: it is known by its value only.
	Index                  int
	Option, Reason, Remedy string
}

// reName finds AutoCommitMarks in kgo.AutoCommitMarks.func1, main.main.AutoCommitMarks.func3 and
// main.main.func2.AutoCommitMarks.4.
var reName = regexp.MustCompile(`\.([A-Z]\w*)\.(?:func)?\d+$`)

// Name tells which kgo function made an option: every option of kgo is a closure of the function
// with its name, also when the compiler inlined that function. "" if it cannot be told.
func Name(o kgo.Opt) string {
	v := reflect.ValueOf(o)
	if v.Kind() != reflect.Struct || v.NumField() == 0 || v.Field(0).Kind() != reflect.Func {
		return ""
	}
	fn := runtime.FuncForPC(v.Field(0).Pointer())
	if fn == nil {
		return ""
	}
	if m := reName.FindStringSubmatch(fn.Name()); m != nil {
		return m[1]
	}
	return ""
}

// RefusedIn lists the options that a role refuses, whatever their value or unless it is the
// default, in order.
func RefusedIn(role Role) []string {
	var names []string
	for name, byRole := range table {
		if f := byRole[role].fate; f == Refused || f == RefusedIfChanged {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Check looks at the names, before any client exists: making one with the wrong options has effects
// already, such as to join a group. Options must not have a nil in them.
func Check(role Role, opts []kgo.Opt) []Refusal {
	var out []Refusal
	for i, o := range opts {
		name := Name(o)
		v := table[name][role]
		if name != "" && v.fate == Undecided {
			v = verdict{Refused, "this version of Ackmark does not know it, and so not what it does to the promises", "drop it, or use a newer Ackmark"}
		}
		if v.fate == Refused {
			out = append(out, Refusal{i, name, v.reason, v.remedy})
		}
	}
	return out
}

// CheckValues is the second net, for options whose names could not be seen: it compares what a
// client made from the options says of itself with one made without them.
func CheckValues(role Role, theirs, plain *kgo.Client) []Refusal {
	var out []Refusal
	for _, name := range RefusedIn(role) {
		if text(theirs.OptValues(name)) != text(plain.OptValues(name)) {
			v := table[name][role]
			out = append(out, Refusal{-1, name, v.reason, v.remedy})
		}
	}
	return out
}

// text of what an option set, for comparing. Of a function only whether there is one: a client
// wraps some of them in its own.
func text(values []any) string {
	var out []any
	for _, v := range values {
		if rv := reflect.ValueOf(v); rv.Kind() == reflect.Func {
			v = !rv.IsNil()
		}
		out = append(out, v)
	}
	return fmt.Sprint(out...)
}

// Probe makes a client to read option values from: base first, then the options without hooks,
// which may register themselves when a client is made and must see the real one only. Its context
// has ended before it starts, so it never dials. The caller closes it.
func Probe(opts []kgo.Opt, base ...kgo.Opt) (*kgo.Client, error) {
	dead, cancel := context.WithCancel(context.Background())
	cancel()
	all := slices.Clone(base)
	for _, o := range opts {
		if Name(o) != "WithHooks" {
			all = append(all, o)
		}
	}
	return kgo.NewClient(append(all, kgo.WithContext(dead))...)
}
