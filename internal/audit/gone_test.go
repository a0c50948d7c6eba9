package audit

import (
	"strings"
	"testing"
	"time"
)

// What may have been deleted: only true clocks bound it.
func TestGone(t *testing.T) {
	const minute = int64(time.Minute / time.Millisecond)
	at := func(minutes int64, byBroker bool) stamp { return stamp{minutes * minute, byBroker} }
	first := func(s stamp) cut { return cut{truncated: true, first: &s} }
	for name, tc := range map[string]struct {
		trust bool
		cuts  []cut
		input stamp
		want  bool
		note  string
	}{
		"nothing is gone":                        {cuts: []cut{{}}, input: at(0, false)},
		"a producer's clock, dated ahead":        {cuts: []cut{first(at(100, true))}, input: at(1000, false), want: true, note: "whatever times the records carry"},
		"a producer's clock behind the cut":      {cuts: []cut{first(at(0, false))}, input: at(1000, true), want: true, note: "--trust-clocks"},
		"brokers' clocks, later":                 {cuts: []cut{first(at(100, true))}, input: at(111, true), note: "--from 1970-01-01T01:50:01Z"},
		"brokers' clocks, within their skew":     {cuts: []cut{first(at(100, true))}, input: at(109, true), want: true, note: "--from 1970-01-01T01:50:01Z"},
		"the last partition that was cut counts": {cuts: []cut{first(at(50, true)), {}, first(at(100, true)), first(at(60, true))}, input: at(105, true), want: true, note: "o/0, o/2, o/3"},
		"trusted":                                {trust: true, cuts: []cut{first(at(100, false))}, input: at(111, false), note: "--from"},
		"trusted, and older":                     {trust: true, cuts: []cut{first(at(100, false))}, input: at(99, false), want: true, note: "--from"},
		"none is left":                           {trust: true, cuts: []cut{{truncated: true}}, input: at(1000, true), want: true, note: "all outputs in one of o/0"},
		"compacted":                              {trust: true, cuts: []cut{{holes: 1}}, input: at(1000, true), want: true, note: "compaction took records from o/0"},
	} {
		p := &plan{}
		for i, c := range tc.cuts {
			p.outputs = append(p.outputs, &output{topic: "o", partition: int32(i), cut: c})
		}
		g := p.gone(tc.trust)
		if got := g.mayHaveHad(tc.input); got != tc.want {
			t.Errorf("%s: %t", name, got)
		}
		if notes := strings.Join(g.notes(), "\n"); !strings.Contains(notes, tc.note) || (tc.note == "") != (notes == "") {
			t.Errorf("%s: notes %q", name, notes)
		}
	}
}
