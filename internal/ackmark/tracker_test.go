package ackmark

import (
	"math"
	"slices"
	"strings"
	"testing"
)

func TestNewRefusesAUselessLimit(t *testing.T) {
	defer func() {
		if r, _ := recover().(string); !strings.Contains(r, "limit 0") {
			t.Fatalf("panic %q does not name the limit", r)
		}
	}()
	New(0, 0)
}

func TestAddBelowNextPanicsAndNamesBoth(t *testing.T) {
	tr := New(10, 8)
	tr.Add(10, 1)
	tr.Skip(20)
	defer func() {
		if r, _ := recover().(string); !strings.Contains(r, "Add(19)") || !strings.Contains(r, "20") {
			t.Fatalf("panic %q does not name both offsets", r)
		}
		if tr.Mark() != 10 || tr.Pending() != 1 {
			t.Fatalf("the refused Add changed something: mark %d, pending %d", tr.Mark(), tr.Pending())
		}
	}()
	tr.Add(19, 1)
}

func TestFullCountsDoneEntriesAboveTheMark(t *testing.T) {
	const limit = 100 // not a power of two: the ring is larger than what it may hold
	tr := New(0, limit)
	for o := range int64(limit) {
		if _, ok := tr.Add(o, 1); !ok {
			t.Fatalf("full at %d of %d", o, limit)
		}
	}
	if n := tr.DoneRange(1, limit-1); n != limit-1 {
		t.Fatalf("%d done, want %d", n, limit-1)
	}
	if _, ok := tr.Add(limit, 1); ok {
		t.Fatal("room for one more, although the mark has not moved")
	}
	tr.Done(0)
	if index, ok := tr.Add(limit, 1); !ok || index != limit {
		t.Fatalf("Add after the mark moved: index %d, %v", index, ok)
	}
}

func TestDoneRange(t *testing.T) {
	for _, c := range []struct {
		name    string
		already []uint64 // done before
		index   uint64
		n       int
		want    int
		mark    int64
	}{
		{"nothing", nil, 0, 0, 0, 0},
		{"negative", nil, 5, -1, 0, 0},
		{"one", nil, 0, 1, 1, 1},
		{"across words", nil, 60, 80, 80, 0},
		{"all", nil, 0, 200, 200, 200},
		{"more than all", nil, 0, math.MaxInt, 200, 200},
		{"not there yet", nil, 200, 10, 0, 0},
		{"an index near the end of all numbers", nil, math.MaxUint64, math.MaxInt, 0, 0},
		{"some done before", []uint64{3, 64, 199}, 0, 200, 197, 200},
		{"starts below the mark", []uint64{0, 1, 2}, 1, 4, 2, 5},
		{"ends below the mark", []uint64{0, 1, 2}, 1, 2, 0, 3},
		{"stops before a done run", []uint64{2, 3, 4}, 0, 2, 2, 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := New(0, 1000)
			for o := range int64(200) {
				tr.Add(o, 10)
			}
			for _, i := range c.already {
				tr.Done(i)
			}
			if got := tr.DoneRange(c.index, c.n); got != c.want {
				t.Errorf("ended %d, want %d", got, c.want)
			}
			pending := 200 - len(c.already) - c.want
			if tr.Pending() != pending || tr.PendingBytes() != int64(pending)*10 {
				t.Errorf("pending %d with %d bytes, want %d", tr.Pending(), tr.PendingBytes(), pending)
			}
			if tr.Mark() != c.mark {
				t.Errorf("mark %d, want %d", tr.Mark(), c.mark)
			}
		})
	}
}

// A full ring whose window starts in the middle of a word: the first and the last entries share one
// word of the bitmaps.
func TestWindowThatWrapsInsideAWord(t *testing.T) {
	tr := New(0, wordBits)
	fill := func() {
		for _, ok := tr.Add(tr.Next(), 1); ok; _, ok = tr.Add(tr.Next(), 1) {
		}
	}
	fill()
	tr.DoneRange(0, 10)
	fill() // indices 10 to 73: 64 to 73 lie in the low bits of the word that 10 to 63 use
	tr.DoneRange(64, 10)
	if got, want := doneSet(tr), [][2]int64{{64, 73}}; !slices.Equal(got, want) {
		t.Fatalf("done-set %v, want %v", got, want)
	}
	if o, i, ok := tr.Oldest(); o != 10 || i != 10 || !ok {
		t.Fatalf("oldest %d at %d, %v", o, i, ok)
	}
	tr.DoneRange(11, 53)
	if tr.Mark() != 10 {
		t.Fatalf("mark %d before its own entry is done", tr.Mark())
	}
	tr.Done(10)
	if tr.Mark() != 74 || tr.DoneAbove() != 0 {
		t.Fatalf("mark %d, done above %d", tr.Mark(), tr.DoneAbove())
	}
}

func TestGrowthKeepsEverything(t *testing.T) {
	tr := New(0, 1<<12)
	for i := range uint64(1 << 12) {
		tr.Add(int64(i)*3, int(i%7))
		if i%5 == 2 {
			tr.Done(i)
		}
	}
	var ends, pending int
	for i := range uint64(1 << 12) {
		if tr.Done(i) {
			ends++
		}
		pending = tr.Pending()
	}
	if want := 1<<12 - (1<<12-2+4)/5; ends != want || pending != 0 || tr.PendingBytes() != 0 {
		t.Fatalf("ended %d of %d, pending %d, bytes %d", ends, want, pending, tr.PendingBytes())
	}
}

// One slow input lets thousands come together above it. Their room is given back when the mark has
// gone round, and what lies from the mark on is there as before.
func TestRoomIsGivenBack(t *testing.T) {
	const slow, usual = 20_000, 300
	tr := New(0, 1<<16)
	next := uint64(0)
	read := func(n int) {
		for range n {
			tr.Add(int64(next)*2, 1)
			next++
		}
	}
	read(slow)
	tr.DoneRange(1, slow-1)
	if room := tr.Room(); room != 1<<15 {
		t.Fatalf("room for %d entries while %d are there", room, slow)
	}
	tr.Done(0)
	for range 3 * (1 << 15) / usual {
		read(usual)
		tr.Done(next - 2)
		tr.DoneRange(tr.MarkIndex(), usual-10)
	}
	if room := tr.Room(); room > 1<<13 {
		t.Errorf("room for %d entries is held", room)
	}
	for tr.Pending() > 0 {
		tr.Done(tr.MarkIndex())
	}
	for range 1 << 14 {
		read(1)
		tr.Done(next - 1)
	}
	if room := tr.Room(); room != keptRing {
		t.Errorf("room for %d entries is held of one, want %d", room, keptRing)
	}
	if want := int64(next)*2 - 1; tr.Mark() != want || tr.MarkIndex() != next || tr.DoneAbove() != 0 || tr.PendingBytes() != 0 {
		t.Errorf("mark %d, want %d; index %d, %d done above, %d bytes", tr.Mark(), want, tr.MarkIndex(), tr.DoneAbove(), tr.PendingBytes())
	}
}

func TestDoneSetStopsWhenAsked(t *testing.T) {
	tr := New(0, 100)
	for o := range int64(9) {
		tr.Add(o, 1)
	}
	for _, i := range []uint64{1, 3, 5} {
		tr.Done(i)
	}
	for first, last := range tr.DoneSet() {
		if first != 1 || last != 1 {
			t.Fatalf("first range %d–%d", first, last)
		}
		break
	}
}

func TestPutRefusesWhatCannotBe(t *testing.T) {
	start := func() *Tracker { // 0 and 1 done, 3 arrived at 130, 6 at 133
		tr := New(100, 10)
		tr.Put(0, 100, 1)
		tr.Put(1, 110, 1)
		tr.DoneRange(0, 2)
		tr.Put(3, 130, 1)
		tr.Put(6, 133, 1)
		return tr
	}
	for _, c := range []struct {
		name   string
		index  uint64
		offset int64
		ok     bool
	}{
		{"fits", 2, 120, true},
		{"tight at both ends", 2, 111, true},
		{"right below its successor", 2, 129, true},
		{"below the mark", 1, 110, false},
		{"twice", 3, 130, false},
		{"offset below the mark", 2, 110, false},
		{"offset of its successor", 2, 130, false},
		{"offset of its predecessor", 4, 130, false},
		{"between two that are close", 4, 131, true},
		{"no room for the entries below", 8, 116, false},
		{"last of the limit", 11, 200, true},
		{"beyond the limit", 12, 200, false},
		{"beyond all numbers", math.MaxUint64, math.MaxInt64 - 1, false},
		{"the offset after which there is none", 2, math.MaxInt64, false},
		{"negative", 2, -1, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := start()
			if got := tr.Put(c.index, c.offset, 1); got != c.ok {
				t.Fatalf("Put(%d, %d) = %v", c.index, c.offset, got)
			}
			if tr.Mark() > 129 {
				t.Fatalf("mark %d above an entry that is not done", tr.Mark())
			}
		})
	}
}

func TestSteadyStateDoesNotAllocate(t *testing.T) {
	tr := New(0, 256)
	step := func() {
		for range 200 {
			tr.Add(tr.Next(), 1)
		}
		tr.DoneRange(tr.MarkIndex(), 200)
	}
	step()
	if n := testing.AllocsPerRun(100, step); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func doneSet(t *Tracker) (ranges [][2]int64) {
	for first, last := range t.DoneSet() {
		ranges = append(ranges, [2]int64{first, last})
	}
	return ranges
}

// What the fetch position skips lies behind what has not arrived, too.
func TestSkipDoesNotPassWhatHasNotArrived(t *testing.T) {
	tr := New(10, 8)
	if !tr.Put(1, 12, 0) || !tr.Done(1) {
		t.Fatal("not taken")
	}
	tr.Skip(100)
	if mark := tr.Mark(); mark != 10 {
		t.Errorf("the mark is %d, though index 0 has not arrived", mark)
	}
	if !tr.Put(0, 11, 0) || !tr.Done(0) || tr.Mark() != 100 {
		t.Errorf("the mark is %d when all are done", tr.Mark())
	}
}

// The word of who reads the inputs moves a mark that waits for what does not come, and nothing
// else.
func TestAdvance(t *testing.T) {
	for _, c := range []struct {
		name   string
		index  uint64
		offset int64
		mark   int64 // after it
	}{
		{"to what has not arrived", 3, 103, 103},
		{"to the first that has", 4, 110, 110},
		{"over one that has", 5, 115, 115},
		{"to one that is done", 6, 120, 122}, // so is the one behind it
		{"behind all", 9, 140, 140},
		{"far away", 1 << 40, 1 << 50, 1 << 50},
		{"at the mark", 0, 100, 100},
		{"back in offsets", 1, 99, 100},
		{"offsets for fewer", 3, 102, 100},
		{"above the offset of who is there", 4, 111, 100},
		{"no room up to who is there", 2, 109, 100},
		{"behind all, below an offset", 9, 121, 100},
		{"the offset after which there is none", 9, math.MaxInt64, 100},
		{"beyond all numbers", math.MaxUint64, 1 << 60, 100},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := New(100, 1<<20)
			for index, offset := range map[uint64]int64{4: 110, 6: 120, 7: 121} {
				if !tr.Put(index, offset, 10) || index > 4 && !tr.Done(index) {
					t.Fatal("not taken")
				}
			}
			moved := tr.Advance(c.index, c.offset)
			if tr.Mark() != c.mark || moved != (c.mark > 100) {
				t.Errorf("mark %d, want %d; moved: %v", tr.Mark(), c.mark, moved)
			}
			if pending := tr.Pending(); (pending == 0) != (c.mark > 110) || tr.PendingBytes() != int64(10*pending) {
				t.Errorf("%d bytes of %d inputs are pending", tr.PendingBytes(), pending)
			}
		})
	}
	tr := New(100, 8)
	tr.Put(0, 100, 0)
	if tr.Advance(3, 103) || tr.Mark() != 100 {
		t.Error("the mark passes an input that is here, and not done")
	}
}
