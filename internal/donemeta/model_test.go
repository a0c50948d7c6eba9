package donemeta

import (
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// naive makes the runs of a set of offsets, the slow and plain way.
func naive(set map[int64]bool) []Run {
	var offsets []int64
	for o := range set {
		offsets = append(offsets, o)
	}
	slices.Sort(offsets)
	var runs []Run
	for _, o := range offsets {
		if n := len(runs); n > 0 && runs[n-1].Last == o-1 {
			runs[n-1].Last = o
		} else {
			runs = append(runs, Run{o, o})
		}
	}
	return runs
}

func drawBinding(t *rapid.T) Binding {
	b := Binding{
		Base:        rapid.OneOf(rapid.Int64Range(0, 1000), rapid.Int64Range(0, math.MaxInt64/2)).Draw(t, "base"),
		LeaderEpoch: rapid.Int32Range(-1, 100).Draw(t, "epoch"),
	}
	copy(b.TopicID[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "topic"))
	return b
}

// A set comes back as it was, from a base on, in the small and in the wide.
func TestRoundTripAgainstASet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := drawBinding(t)
		width := rapid.SampledFrom([]int64{8, 64, 200, 2000, MaxSpan, 1 << 40}).Draw(t, "width")
		set := map[int64]bool{}
		for range rapid.IntRange(0, 40).Draw(t, "blocks") {
			at := rapid.Int64Range(0, width-1).Draw(t, "at")
			for i := range rapid.Int64Range(1, 30).Draw(t, "length") {
				if at+i < width {
					set[b.Base+at+i] = true
				}
			}
		}
		runs := naive(set)
		text, kept := Append(nil, b, runs)
		if kept != len(runs) || len(text) > MaxText {
			t.Fatalf("kept %d of %d in %d characters", kept, len(runs), len(text))
		}
		got, err := Parse(string(text), b, nil)
		if err != nil || !slices.Equal(got, runs) {
			t.Fatalf("got %v, %v, want %v", got, err, runs)
		}
	})
}

// Whatever Fits says fits is kept whole; whatever is kept comes back, and no text is too long.
func TestNothingIsTooLong(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := drawBinding(t)
		var runs []Run
		next := b.Base
		for range rapid.IntRange(1, 30).Draw(t, "parts") {
			gap := int64(1) << rapid.IntRange(0, 40).Draw(t, "gap")
			length := int64(1) << rapid.IntRange(0, 40).Draw(t, "length")
			for range rapid.IntRange(1, 200).Draw(t, "times") {
				first := next + gap
				runs = append(runs, Run{first, first + length - 1})
				next = first + length
			}
		}
		text, kept := Append(nil, b, runs)
		if len(text) > MaxText {
			t.Fatalf("%d characters", len(text))
		}
		if Fits(next-b.Base, len(runs)) && kept < len(runs) {
			t.Fatalf("kept %d of %d runs within %d offsets, which fit", kept, len(runs), next-b.Base)
		}
		got, err := Parse(string(text), b, nil)
		if err != nil || !slices.Equal(got, runs[:kept]) {
			t.Fatalf("%d of %d come back: %v", len(got), kept, err)
		}
	})
}

// Any text, bound to what it claims: runs in order or nothing, and what is read is written again
// the same.
func FuzzParse(f *testing.F) {
	for _, runs := range [][]Run{{{5, 6}}, {{1, 1}, {3, 9}, {1 << 40, 1 << 41}}, alternating(0, 200)} {
		text, _ := Append(nil, Binding{}, runs)
		f.Add(string(text), int64(0))
		f.Add(seal(Binding{Base: 9}, kindRuns, 1, 2, 3, 4), int64(9))
	}
	f.Add("am1.", int64(0))
	f.Add("member-id", int64(-1))
	f.Fuzz(func(t *testing.T, text string, base int64) {
		check(t, text, base)
		// A fuzzer does not find checksums: the same bytes once more as a body, sealed.
		if len(text) > 0 && len(text) < maxBody {
			check(t, seal(Binding{Base: base}, text[0]%3, []byte(text[1:])...), base)
		}
	})
}

func check(t *testing.T, text string, base int64) {
	b := Binding{Base: base}
	before := []Run{{-7, -6}}
	got, err := Parse(text, b, before)
	if len(got) == 0 || got[0] != before[0] {
		t.Fatalf("%q: what was there is gone: %v", text, got)
	}
	got = got[1:]
	if err != nil && len(got) > 0 {
		t.Fatalf("%q: %v with %v", text, got, err)
	}
	if len(got) > 8*len(text) {
		t.Fatalf("%q: %d runs of %d characters", text, len(got), len(text))
	}
	next := base
	for i, r := range got {
		if r.First < next || i > 0 && r.First == next || r.Last < r.First || r.Last == math.MaxInt64 {
			t.Fatalf("%q: run %d of %v", text, i, got)
		}
		next = r.Last + 1
	}
	if len(got) == 0 || err != nil {
		return
	}
	again, kept := Append(nil, b, got)
	if kept < len(got) && len(again) < MaxText-40 {
		t.Fatalf("%q: kept %d of %d", text, kept, len(got))
	}
	back, err := Parse(string(again), b, nil)
	if err != nil || !slices.Equal(back, got[:kept]) || !strings.HasPrefix(string(again), magic) {
		t.Fatalf("%q: written again: %v, %v", text, back, err)
	}
}
