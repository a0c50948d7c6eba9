package audit_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/audit"
)

// named is an output as pipeline.Config.SourceHeaders marks it: which of how many, and whose.
func (w *world) named(offset int64, output string, count int, by string) *kgo.Record {
	r := w.made(offset, output, "k")
	r.Headers = []kgo.RecordHeader{sourceHeader("in/0/%d/%s/%d/%s/%s", offset, output, count, base64.RawURLEncoding.EncodeToString(w.id[:]), by)}
	return r
}

func (w *world) outputs(by string, count int, offsets []int64, numbers ...string) {
	w.Helper()
	var all []*kgo.Record
	for _, offset := range offsets {
		for _, number := range numbers {
			all = append(all, w.named(offset, number, count, by))
		}
	}
	w.produce(all...)
}

// An output counts for the group that made it, and says how many its input has.
func TestGroupsAndNumbers(t *testing.T) {
	for name, tc := range map[string]struct {
		do     func(*world)
		expect *audit.Expect
		want   string
		note   string
		also   []string
	}{
		"a group took over from another": {do: func(w *world) {
			w.outputs("old", 1, upTo(5), "0")
			w.outputs("g", 1, []int64{5, 6, 7, 8, 9}, "0")
			w.outputs("other", 1, upTo(3), "0")
		}, also: []string{"older", "old"}, want: "clean: 10 inputs, 10 done, 3 other group", note: "5 outputs of older, old count as this group's"},
		"and lost one": {do: func(w *world) {
			w.outputs("old", 1, upTo(5), "0")
			w.outputs("g", 1, []int64{5, 6, 8, 9}, "0")
		}, also: []string{"old"}, want: "lost: 10 inputs, 10 done, 1 lost"},
		"and does not say so": {do: func(w *world) {
			w.outputs("old", 1, upTo(5), "0")
			w.outputs("g", 1, []int64{5, 6, 7, 8, 9}, "0")
		}, want: "lost: 10 inputs, 10 done, 5 lost, 5 other group", note: "name that with --also-group"},
		"another group's outputs do not hide a loss": {do: func(w *world) {
			w.outputs("g", 1, upTo(5), "0")
			w.outputs("other", 1, upTo(10), "0")
		}, want: "lost: 10 inputs, 10 done, 5 lost, 10 other group", note: "outputs of other groups do not count"},
		"nor its dead letters": {do: func(w *world) {
			w.outputs("g", 1, upTo(9), "0")
			w.outputs("other", 1, []int64{9}, audit.DeadLetter)
		}, want: "lost: 10 inputs, 10 done, 1 lost, 1 other group"},
		"nor are they repeats": {do: func(w *world) {
			w.outputs("g", 1, upTo(10), "0")
			w.outputs("other", 1, upTo(10), "0")
		}, want: "clean: 10 inputs, 10 done, 10 other group"},
		"a group whose name begins alike is another": {do: func(w *world) {
			w.outputs("g", 1, upTo(9), "0")
			w.outputs("g/2", 1, upTo(10), "0")
		}, want: "lost: 10 inputs, 10 done, 1 lost, 10 other group"},
		"one of two is missing, and no topic has it": {do: func(w *world) { w.outputs("g", 2, upTo(10), "0") },
			want: "lost: 10 inputs, 10 done, 10 lost", note: "output 1 is missing of 10 inputs; none of any input is in these topics: is one missing in --output?"},
		"also where handlers may filter": {do: func(w *world) { w.outputs("g", 2, upTo(10), "0") }, expect: &audit.Expect{Max: 9},
			want: "lost: 10 inputs, 10 done, 10 lost"},
		"one of two is missing once": {do: func(w *world) {
			w.outputs("g", 2, upTo(9), "0", "1")
			w.outputs("g", 2, []int64{9}, "0")
		}, want: "lost: 10 inputs, 10 done, 1 lost", note: "output 1 is missing of 1 inputs; those of other inputs are in out"},
		"the first of two is missing": {do: func(w *world) {
			w.outputs("g", 2, upTo(9), "0", "1")
			w.outputs("g", 2, []int64{9}, "1")
		}, want: "lost: 10 inputs, 10 done, 1 lost"},
		"a second attempt with another number of outputs is whole": {do: func(w *world) {
			w.outputs("g", 1, upTo(9), "0")
			w.outputs("g", 3, []int64{9}, "0", "1")
			w.outputs("g", 2, []int64{9}, "0", "1")
		}, want: "clean: 10 inputs, 10 done, 2 duplicated"},
		"parts of two attempts are not": {do: func(w *world) {
			w.outputs("g", 1, upTo(9), "0")
			w.outputs("g", 3, []int64{9}, "0", "1")
			w.outputs("g", 2, []int64{9}, "1")
		}, want: "lost: 10 inputs, 10 done, 1 lost, 1 duplicated"},
		"a dead letter": {do: func(w *world) {
			w.outputs("g", 2, upTo(9), "0", "1")
			w.outputs("g", 1, []int64{9}, audit.DeadLetter)
		}, want: "clean: 10 inputs, 10 done, 1 dead"},
		"headers of the first version": {do: func(w *world) { w.out(upTo(10)...) },
			want: "clean: 10 inputs, 10 done", note: "10 outputs have source headers that name no group"},
		"both versions, after an upgrade": {do: func(w *world) {
			w.out(upTo(10)...)
			w.outputs("g", 1, []int64{8, 9}, "0")
		}, want: "clean: 10 inputs, 10 done, 2 duplicated", note: "10 outputs have source headers that name no group"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			w.in(0, 10)
			w.commit(10, "")
			tc.do(w)
			o := w.options()
			o.Expect, o.AlsoGroups = tc.expect, tc.also
			r := w.run(o)
			if got := text(r); got != tc.want {
				t.Errorf("want %s\n got %s", tc.want, got)
			}
			if notes := strings.Join(r.Notes, "\n"); !strings.Contains(notes, tc.note) {
				t.Errorf("no note %q in\n%s", tc.note, notes)
			}
			if named := !strings.Contains(tc.note, "no group"); named != (r.Nameless == 0) {
				t.Errorf("%d nameless", r.Nameless)
			}
		})
	}
}

// A finding says which output is missing, and of how many.
func TestFindingNamesTheMissingOutput(t *testing.T) {
	w := newWorld(t, nil)
	w.in(0, 2)
	w.commit(2, "")
	w.outputs("g", 3, []int64{0}, "0", "1", "2")
	w.outputs("g", 3, []int64{1}, "0", "2")
	f := w.run(w.options()).First[audit.Lost]
	if len(f) != 1 || f[0].Offset != 1 || f[0].Missing == nil || *f[0].Missing != 1 || f[0].Of == nil || *f[0].Of != 3 {
		t.Errorf("%+v", f)
	}
}
