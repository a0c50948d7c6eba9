package audit

import (
	"encoding/binary"
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

// Offsets without a record are counted once each, in whatever pieces and however often batches
// come.
func TestHoles(t *testing.T) {
	batch := func(first, last int64, records int) []byte {
		b := make([]byte, batchHeader+3)
		binary.BigEndian.PutUint64(b, uint64(first))
		binary.BigEndian.PutUint32(b[batchLength:], uint32(len(b)-batchLength-4))
		b[batchMagic] = 2
		binary.BigEndian.PutUint32(b[batchLastDelta:], uint32(last-first))
		binary.BigEndian.PutUint32(b[batchRecords:], uint32(records))
		return b
	}
	join := func(all ...[]byte) (joined []byte) {
		for _, b := range all {
			joined = append(joined, b...)
		}
		return joined
	}
	old := batch(0, 0, 1)
	old[batchMagic] = 1
	for name, tc := range map[string]struct {
		start     int64
		responses [][]byte
		want      int64
	}{
		"none":                            {0, [][]byte{join(batch(0, 4, 5), batch(5, 5, 1))}, 0},
		"between batches":                 {0, [][]byte{join(batch(0, 4, 5), batch(7, 7, 1))}, 2},
		"before the first":                {3, [][]byte{batch(5, 5, 1)}, 2},
		"within a batch":                  {0, [][]byte{batch(0, 9, 4)}, 6},
		"an empty batch":                  {0, [][]byte{batch(0, 9, 0)}, 10},
		"the start is within a batch":     {3, [][]byte{batch(0, 9, 10)}, 0},
		"a batch that comes twice":        {0, [][]byte{batch(0, 9, 4), batch(0, 9, 4)}, 6},
		"cut off, and whole the next":     {0, [][]byte{join(batch(0, 4, 5), batch(5, 9, 1)[:62]), batch(5, 9, 1)}, 4},
		"behind the end":                  {0, [][]byte{join(batch(0, 99, 100), batch(150, 150, 1))}, 0},
		"an old format that says nothing": {0, [][]byte{old}, 1},
	} {
		task := task{next: tc.start, unseen: tc.start, end: 100}
		for _, response := range tc.responses {
			task.count(response)
		}
		if task.holes != tc.want {
			t.Errorf("%s: %d holes, want %d", name, task.holes, tc.want)
		}
	}
}
