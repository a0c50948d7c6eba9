package ackmark

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// model is the tracker as one would write it without thinking of speed: a list of everything that
// ever was.
type model struct {
	start, next, high int64 // high: the highest mark seen
	limit             int
	entries           []modelEntry // by index; zero value: not arrived
}

type modelEntry struct {
	offset        int64
	size          int
	arrived, done bool
	staged        bool
}

// markIndex is the first entry that is not done, by looking at all of them.
func (m *model) markIndex() int {
	i := slices.IndexFunc(m.entries, func(e modelEntry) bool { return !e.done })
	if i < 0 {
		return len(m.entries)
	}
	return i
}

func (m *model) mark() int64 {
	i := m.markIndex()
	switch {
	case i == len(m.entries):
		return m.next
	case m.entries[i].arrived:
		return m.entries[i].offset
	case i == 0:
		return max(m.start, m.high)
	default:
		return max(m.entries[i-1].offset+1, m.high)
	}
}

func (m *model) pending() (n int, bytes int64) {
	for _, e := range m.entries {
		if e.arrived && !e.done {
			n, bytes = n+1, bytes+int64(e.size)
		}
	}
	return n, bytes
}

func (m *model) doneSet() (ranges [][2]int64) {
	joined := false
	for _, e := range m.entries[m.markIndex():] {
		switch {
		case e.done && joined:
			ranges[len(ranges)-1][1] = e.offset
		case e.done:
			ranges = append(ranges, [2]int64{e.offset, e.offset})
		}
		joined = e.done
	}
	return ranges
}

func (m *model) oldest() (offset int64, index uint64, ok bool) {
	for i, e := range m.entries {
		if e.arrived && !e.done {
			return e.offset, uint64(i), true
		}
	}
	return 0, 0, false
}

func (m *model) end(i int) bool {
	if i >= len(m.entries) || !m.entries[i].arrived || m.entries[i].done {
		return false
	}
	m.entries[i].done, m.entries[i].staged = true, false
	return true
}

// settled is the model as it would be if all that is staged were done.
func (m *model) settled() *model {
	n := *m
	n.entries = slices.Clone(m.entries)
	for i := range n.entries {
		n.entries[i].done = n.entries[i].done || n.entries[i].staged
	}
	return &n
}

// staging are the operations of a transaction: some inputs are staged, then all of them are done,
// or none.
func staging(m *model, tr *Tracker) map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"stage": func(t *rapid.T) {
			i, n := near(t, m), rapid.IntRange(0, 200).Draw(t, "n")
			want := 0
			for j := i; j < min(i+n, len(m.entries)); j++ {
				if e := &m.entries[j]; e.arrived && !e.done && !e.staged {
					e.staged = true
					want++
				}
			}
			if got := tr.Stage(uint64(i), n); got != want {
				t.Fatalf("Stage(%d, %d): %d, want %d", i, n, got, want)
			}
		},
		"fit": func(t *rapid.T) {
			tr.Fit()
			if span := len(m.entries) - m.markIndex(); tr.Room() >= max(2*wordBits, 2*span) {
				t.Fatalf("room for %d entries of %d", tr.Room(), span)
			}
		},
		"unstage": func(*rapid.T) {
			tr.Unstage()
			for i := range m.entries {
				m.entries[i].staged = false
			}
		},
		"settle": func(t *rapid.T) {
			want := 0
			for i := range m.entries {
				if m.entries[i].staged && m.end(i) {
					want++
				}
			}
			if got := tr.Settle(); got != want {
				t.Fatalf("Settle: %d, want %d", got, want)
			}
		},
	}
}

// compareStaged holds what is said of a transaction against the model after it.
func compareStaged(t *rapid.T, m *model, tr *Tracker) {
	after := m.settled()
	if got, want := tr.MarkStaged(), after.mark(); got != want {
		t.Fatalf("mark with what is staged %d, want %d", got, want)
	}
	oldest, _, open := after.oldest()
	if got, ok := tr.OldestUnstaged(); got != oldest || ok != open {
		t.Fatalf("oldest that is not staged %d (%v), want %d (%v)", got, ok, oldest, open)
	}
	i := m.markIndex()
	for offset, done := range tr.EntriesStaged() {
		if want := after.entries[i]; want.arrived != (offset >= 0) || want.arrived && want.offset != offset || want.done != done {
			t.Fatalf("entry %d is %d, done %v; want %+v", i, offset, done, want)
		}
		if arrived, open := tr.Holds(uint64(i)); arrived != m.entries[i].arrived || open != (arrived && !m.entries[i].done) {
			t.Fatalf("entry %d arrived: %v, is open: %v", i, arrived, open)
		}
		i++
	}
	if i != len(m.entries) {
		t.Fatalf("entries up to %d, want %d", i, len(m.entries))
	}
}

// gap draws offset gaps as topics have them: mostly none, some small, a few as wide as compaction
// makes them.
func gap(t *rapid.T) int64 {
	return rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(0, 3), rapid.Int64Range(0, 1<<40)).Draw(t, "gap")
}

// near draws an index around the window: below it, in it, and above.
func near(t *rapid.T, m *model) int {
	from := max(0, m.markIndex()-3)
	return rapid.IntRange(from, max(from, len(m.entries)+3)).Draw(t, "index")
}

func TestAgainstTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := rapid.Int64Range(0, 1<<40).Draw(t, "start")
		m := &model{start: start, next: start, high: start, limit: rapid.IntRange(1, 300).Draw(t, "limit")}
		tr := New(start, m.limit)
		tr.kept = wordBits // rings shrink in it
		actions := staging(m, tr)
		maps.Copy(actions, map[string]func(*rapid.T){
			"": func(t *rapid.T) { compare(t, m, tr) },
			"add": func(t *rapid.T) {
				for range rapid.IntRange(1, 100).Draw(t, "n") {
					offset, size := m.next+gap(t), rapid.IntRange(0, 9).Draw(t, "size")
					index, ok := tr.Add(offset, size)
					if want := len(m.entries)-m.markIndex() < m.limit; ok != want {
						t.Fatalf("Add: %v, want %v", ok, want)
					}
					if !ok {
						return
					}
					if index != uint64(len(m.entries)) {
						t.Fatalf("index %d, want %d", index, len(m.entries))
					}
					m.entries = append(m.entries, modelEntry{offset: offset, size: size, arrived: true})
					m.next = offset + 1
				}
			},
			"done": func(t *rapid.T) {
				i := near(t, m)
				if got, want := tr.Done(uint64(i)), m.end(i); got != want {
					t.Fatalf("Done(%d): %v, want %v", i, got, want)
				}
			},
			"doneRange": func(t *rapid.T) {
				i, n := near(t, m), rapid.IntRange(0, 200).Draw(t, "n")
				want := 0
				for j := range n {
					if m.end(i + j) {
						want++
					}
				}
				if got := tr.DoneRange(uint64(i), n); got != want {
					t.Fatalf("DoneRange(%d, %d): %d, want %d", i, n, got, want)
				}
			},
			"skip": func(t *rapid.T) {
				to := m.next + gap(t) - 2
				tr.Skip(to)
				m.next = max(m.next, to)
			},
		})
		t.Repeat(actions)
	})
}

// TestOutOfOrderAgainstTheModel lets entries arrive as a receiver of many lanes sees them: an order
// of fetching exists, Put follows another.
func TestOutOfOrderAgainstTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 200).Draw(t, "limit")
		m := &model{limit: limit}
		tr := New(0, limit)
		tr.kept = wordBits
		var truth []int64 // offsets by index, as the sender has them
		for next := int64(0); len(truth) < 300; next = truth[len(truth)-1] + 1 {
			truth = append(truth, next+gap(t))
		}
		actions := staging(m, tr)
		maps.Copy(actions, map[string]func(*rapid.T){
			"": func(t *rapid.T) { compare(t, m, tr) },
			"put": func(t *rapid.T) {
				i := rapid.IntRange(max(0, m.markIndex()-2), min(len(truth)-1, m.markIndex()+limit+2)).Draw(t, "index")
				want := i >= m.markIndex() && i < m.markIndex()+limit && (i >= len(m.entries) || !m.entries[i].arrived)
				if got := tr.Put(uint64(i), truth[i], 3); got != want {
					t.Fatalf("Put(%d, %d): %v, want %v", i, truth[i], got, want)
				}
				if !want {
					return
				}
				for len(m.entries) <= i {
					m.entries = append(m.entries, modelEntry{})
				}
				m.entries[i] = modelEntry{offset: truth[i], size: 3, arrived: true}
				m.next = max(m.next, truth[i]+1)
			},
			"done": func(t *rapid.T) {
				i, n := near(t, m), rapid.IntRange(1, 100).Draw(t, "n")
				want := 0
				for j := range n {
					if m.end(i + j) {
						want++
					}
				}
				if got := tr.DoneRange(uint64(i), n); got != want {
					t.Fatalf("DoneRange(%d, %d): %d, want %d", i, n, got, want)
				}
			},
		})
		actions["advance"] = func(t *rapid.T) {
			i := rapid.IntRange(max(0, m.markIndex()-2), min(len(truth)-1, m.markIndex()+2*limit)).Draw(t, "index")
			offset := truth[i] // or what the sender has while that is not read
			if i > 0 && rapid.Bool().Draw(t, "unread") {
				offset = truth[i-1] + 1
			}
			if got, want := tr.Advance(uint64(i), offset), m.advance(i, offset, truth); got != want {
				t.Fatalf("Advance(%d, %d): %v, want %v", i, offset, got, want)
			}
		}
		t.Repeat(actions)
	})
}

// advance takes the word of the sender that inputs are done which did not come.
func (m *model) advance(index int, offset int64, truth []int64) bool {
	at := m.markIndex()
	if index <= at || at < len(m.entries) && m.entries[at].arrived {
		return false
	}
	for i := range index {
		if i == len(m.entries) {
			m.entries = append(m.entries, modelEntry{})
		}
		if e := &m.entries[i]; !e.arrived {
			*e = modelEntry{offset: truth[i], arrived: true}
		}
		m.entries[i].done, m.entries[i].staged = true, false
	}
	m.high, m.next = max(m.high, offset), max(m.next, offset)
	return true
}

// compare holds every answer of the tracker against the model's, and the mark against its own past.
func compare(t *rapid.T, m *model, tr *Tracker) {
	if got, want := tr.Mark(), m.mark(); got != want {
		t.Fatalf("mark %d, want %d", got, want)
	}
	if tr.Mark() < m.high {
		t.Fatalf("mark went back from %d to %d", m.high, tr.Mark())
	}
	m.high = tr.Mark()
	n, bytes := m.pending()
	if tr.Pending() != n || tr.PendingBytes() != bytes {
		t.Fatalf("pending %d with %d bytes, want %d with %d", tr.Pending(), tr.PendingBytes(), n, bytes)
	}
	if got, want := tr.MarkIndex(), uint64(m.markIndex()); got != want {
		t.Fatalf("mark index %d, want %d", got, want)
	}
	if room := tr.Room(); room < len(m.entries)-m.markIndex() || room&(room-1) != 0 {
		t.Fatalf("room for %d entries, %d lie from the mark on", room, len(m.entries)-m.markIndex())
	}
	if tr.Next() != m.next {
		t.Fatalf("next %d, want %d", tr.Next(), m.next)
	}
	above := 0
	for _, e := range m.entries[m.markIndex():] {
		if e.done {
			above++
		}
	}
	if tr.DoneAbove() != above {
		t.Fatalf("done above %d, want %d", tr.DoneAbove(), above)
	}
	offset, index, ok := tr.Oldest()
	if wo, wi, wok := m.oldest(); offset != wo || index != wi || ok != wok {
		t.Fatalf("oldest %d at %d (%v), want %d at %d (%v)", offset, index, ok, wo, wi, wok)
	}
	if got, want := doneSet(tr), m.doneSet(); !slices.Equal(got, want) {
		t.Fatalf("done-set %v, want %v", got, want)
	}
	compareStaged(t, m, tr)
}
