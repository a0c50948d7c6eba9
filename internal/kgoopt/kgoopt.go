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
	"maps"
	"reflect"
	"regexp"
	"runtime"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/configerr"
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

// configs are the types that have the options of each role.
var configs = [roles]string{"consumer.Config", "producer.DirectConfig", "sidecar.Config"}

// Handling is what becomes of an option.
type Handling int

// The handlings.
const (
	// Undecided is that of an option that is not in the table: refused, because nobody has looked
	// whether the promises hold with it.
	Undecided Handling = iota
	// Taken options reach the client as they are. Some have no effect there: a client that only
	// reads does not mind how batches are compressed.
	Taken
	// Merged options stand in for a field of the configuration, or are held against it.
	Merged
	// Ours are set to one value whatever is given; the option says the same, or nothing of
	// interest.
	Ours
	// Judged options are refused by their value, in a way of their own.
	Judged
	// Refused options break a promise.
	Refused
	// RefusedIfChanged options break a promise unless they say what holds without them.
	RefusedIfChanged
)

// decision is what becomes of an option in one role. The reason and the remedy are of refusals.
type decision struct {
	handling       Handling
	reason, remedy string
	// bad judges; nil: the package that takes the options does.
	bad func(opts []kgo.Opt, theirs, plain *kgo.Client) bool
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
		if f := byRole[role].handling; f == Refused || f == RefusedIfChanged {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Check refuses the options that break a promise of the role: all at once, each a
// [*configerr.Error]. First by their names, before any client exists: making one with the wrong
// options has effects already, such as to join a group. Then by what a client that was made from
// them, on top of base, says of itself: it is returned for the values of the others, and the caller
// closes it.
func Check(role Role, opts []kgo.Opt, base ...kgo.Opt) (*kgo.Client, error) {
	wrong := configerr.For(configs[role])
	for i, o := range opts {
		wrong.Add(byName(role, i, o))
	}
	if err := wrong.Err(); err != nil {
		return nil, err
	}
	theirs, err := Probe(opts, base...)
	if err != nil {
		wrong.Failed("Options", configerr.Words("refused by the Kafka client"), err, "correct it")
		return nil, wrong.Err()
	}
	if err := checkValues(role, theirs, opts, base); err != nil {
		theirs.Close()
		return nil, err
	}
	return theirs, nil
}

// Refusal says that an option may not be given. index is its place among the options, -1 where it
// is known by its value only.
func Refusal(role Role, index int, option, reason, remedy string) *configerr.Error {
	field := "Options"
	if index >= 0 {
		field = fmt.Sprintf("Options[%d]", index)
	}
	return &configerr.Error{Config: configs[role], Field: field, Value: "kgo." + option, Reason: reason, Remedy: remedy}
}

// byName refuses one option for what it is.
func byName(role Role, index int, o kgo.Opt) error {
	if o == nil {
		return &configerr.Error{Config: configs[role], Field: fmt.Sprintf("Options[%d]", index), Value: "nil", Remedy: dropIt}
	}
	name := Name(o)
	switch v := table[name][role]; {
	case v.handling == Refused:
		return Refusal(role, index, name, v.reason, v.remedy)
	case name != "" && v.handling == Undecided:
		return Refusal(role, index, name, "this version of Ackmark does not know it, and so not what it does to the promises", "drop it, or use a newer Ackmark")
	}
	return nil
}

// checkValues is the second net, for options whose names could not be seen, and for those that only
// their value tells good from bad: it compares what a client made from the options says of itself
// with one made without them.
func checkValues(role Role, theirs *kgo.Client, opts, base []kgo.Opt) error {
	plain, err := Probe(nil, base...)
	if err != nil {
		return err
	}
	defer plain.Close()
	wrong := configerr.For(configs[role])
	for _, name := range slices.Sorted(maps.Keys(table)) {
		v := table[name][role]
		changed := func() bool { return text(theirs.OptValues(name)) != text(plain.OptValues(name)) }
		switch {
		case (v.handling == Refused || v.handling == RefusedIfChanged) && changed(),
			v.handling == Judged && v.bad != nil && v.bad(opts, theirs, plain):
			wrong.Add(Refusal(role, indexOf(opts, name), name, v.reason, v.remedy))
		}
	}
	return wrong.Err()
}

func indexOf(opts []kgo.Opt, name string) int {
	return slices.IndexFunc(opts, func(o kgo.Opt) bool { return Name(o) == name })
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
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	all := slices.Clone(base)
	for _, o := range opts {
		if Name(o) != "WithHooks" {
			all = append(all, o)
		}
	}
	return kgo.NewClient(append(all, kgo.WithContext(ended))...)
}
