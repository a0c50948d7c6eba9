package donemeta

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"strings"
	"testing"
)

var bound = Binding{TopicID: [16]byte{1, 2, 3, 15: 16}, Base: 1000, LeaderEpoch: 7}

// alternating is the worst case: every other one of n inputs is done.
func alternating(base int64, n int) []Run {
	runs := make([]Run, 0, n/2)
	for i := 1; i < n; i += 2 {
		runs = append(runs, Run{base + int64(i), base + int64(i)})
	}
	return runs
}

func TestRoundTrip(t *testing.T) {
	const b = 1000
	for name, tc := range map[string]struct {
		runs []Run
		want int // most characters
	}{
		"one":                 {[]Run{{b + 1, b + 1}}, 52},
		"at the base":         {[]Run{{b, b + 5}}, 52},
		"long":                {[]Run{{b + 1, b + 1_000_000_000}}, 56},
		"few and far":         {[]Run{{b + 1, b + 3}, {b + 1<<40, b + 1<<41}}, 70},
		"alternating":         {alternating(b, 1024), 222},
		"alternating, most":   {alternating(b, MaxSpan), MaxText},
		"all of the span":     {[]Run{{b, b + MaxSpan - 1}}, 56},
		"ends of the span":    {[]Run{{b, b}, {b + MaxSpan - 1, b + MaxSpan - 1}}, 60},
		"up to the last one":  {[]Run{{b + 1, math.MaxInt64 - 1}}, 68},
		"a byte and its rest": {[]Run{{b + 3, b + 10}, {b + 12, b + 12}, {b + 14, b + 15}, {b + 17, b + 40}}, 64},
	} {
		t.Run(name, func(t *testing.T) {
			text, kept := Append(nil, bound, tc.runs)
			if kept != len(tc.runs) || len(text) > tc.want {
				t.Errorf("kept %d of %d in %d characters, want at most %d", kept, len(tc.runs), len(text), tc.want)
			}
			got, err := Parse(string(text), bound, nil)
			if err != nil || !slices.Equal(got, tc.runs) {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}

func TestNothingIsNoText(t *testing.T) {
	text, kept := Append([]byte("x"), bound, nil)
	if string(text) != "x" || kept != 0 {
		t.Errorf("%q, %d", text, kept)
	}
	got, err := Parse("", bound, []Run{{1, 2}})
	if err != nil || len(got) != 1 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestTooMuchKeepsTheFirst(t *testing.T) {
	for name, runs := range map[string][]Run{
		"dense":          alternating(bound.Base, MaxSpan+1000),
		"sparse":         spread(bound.Base, 3000, 100_000),
		"one far behind": append(alternating(bound.Base, 20_000), Run{1 << 50, 1<<50 + 1}),
		"dense, sparse":  append(alternating(bound.Base, 2000), spread(bound.Base+1<<20, 3000, 1<<20)...),
	} {
		text, kept := Append(nil, bound, runs)
		if kept < 500 || kept >= len(runs) || len(text) > MaxText {
			t.Errorf("%s: kept %d of %d in %d characters", name, kept, len(runs), len(text))
		}
		got, err := Parse(string(text), bound, nil)
		if err != nil || !slices.Equal(got, runs[:kept]) {
			t.Errorf("%s: %d runs come back, %v", name, len(got), err)
		}
	}
}

// spread is n single offsets at a distance.
func spread(base int64, n int, distance int64) []Run {
	runs := make([]Run, n)
	for i := range runs {
		o := base + int64(i+1)*distance
		runs[i] = Run{o, o}
	}
	return runs
}

// Too little is a repeat, too much a loss.
func TestRunsOutOfOrderAreLeftOut(t *testing.T) {
	const b = 1000
	good := Run{b + 1, b + 2}
	for name, runs := range map[string][]Run{
		"below the base":  {{b - 1, b}},
		"overlapping":     {good, {b + 2, b + 3}},
		"going back":      {good, {b, b}},
		"empty":           {good, {b + 9, b + 8}},
		"the last offset": {good, {b + 9, math.MaxInt64}},
	} {
		text, kept := Append(nil, bound, runs)
		got, err := Parse(string(text), bound, nil)
		if err != nil || kept != len(runs)-1 || !slices.Equal(got, runs[:kept]) {
			t.Errorf("%s: kept %d, %v, %v", name, kept, got, err)
		}
	}
	if text, kept := Append(nil, Binding{Base: -1}, []Run{{1, 2}}); len(text) != 0 || kept != 0 {
		t.Errorf("a base below 0: %q", text)
	}
}

func TestTouchingRunsAreOne(t *testing.T) {
	runs := []Run{{1001, 1005}, {1006, 1 << 30}, {1<<30 + 1, 1 << 31}, {1 << 40, 1 << 40}}
	text, kept := Append(nil, bound, runs)
	got, err := Parse(string(text), bound, nil)
	if err != nil || kept != 4 || !slices.Equal(got, []Run{{1001, 1 << 31}, {1 << 40, 1 << 40}}) {
		t.Errorf("kept %d, got %v, %v", kept, got, err)
	}
}

func TestForeignMetadata(t *testing.T) {
	for _, text := range []string{
		" ", "am", "am1", "AM1.x", "am2.AAAA", "kgo-1234-member", `{"a":1}`, "AAAAAAAAAGg=", strings.Repeat("x", 10_000),
	} {
		if got, err := Parse(text, bound, nil); !errors.Is(err, ErrNotOurs) || got != nil {
			t.Errorf("%.20q: %v, %v", text, got, err)
		}
	}
}

// No character can be changed, left out or added without being noticed.
func TestEveryDamageIsNoticed(t *testing.T) {
	for _, runs := range [][]Run{{{1001, 1002}, {1 << 40, 1<<40 + 5}}, alternating(1000, 300)} {
		whole, _ := Append(nil, bound, runs)
		refused := func(text string) {
			t.Helper()
			if got, err := Parse(text, bound, nil); err == nil || got != nil {
				t.Fatalf("%q is taken for %v", text, got)
			}
		}
		for i := len(magic); i < len(whole); i++ {
			for _, c := range []byte("Aa0-_=\n\r.\x00\xff") {
				text := slices.Clone(whole)
				if text[i] != c {
					text[i] = c
					refused(string(text))
				}
				refused(string(slices.Insert(slices.Clone(whole), i, c)))
			}
			refused(string(whole[:i]))
			refused(string(slices.Delete(slices.Clone(whole), i, i+1)))
		}
		for _, more := range []string{"A", "AA", "AAAA", "\n", "\r\n", "=", " ", string(whole)} {
			refused(string(whole) + more)
		}
	}
}

func TestBoundToItsCommit(t *testing.T) {
	text, _ := Append(nil, bound, []Run{{1005, 1006}})
	for name, change := range map[string]func(*Binding){
		"topic id":     func(b *Binding) { b.TopicID[15]++ },
		"base":         func(b *Binding) { b.Base-- },
		"leader epoch": func(b *Binding) { b.LeaderEpoch = -1 },
	} {
		other := bound
		change(&other)
		if got, err := Parse(string(text), other, nil); !errors.Is(err, ErrOther) || got != nil {
			t.Errorf("another %s: %v, %v", name, got, err)
		}
	}
}

// seal makes a text of any kind and body, with a right checksum: what someone who knows the format
// can send.
func seal(b Binding, kind byte, body ...byte) string {
	raw := make([]byte, headSize, headSize+len(body))
	raw[4] = kind
	copy(raw[5:], b.TopicID[:])
	binary.BigEndian.PutUint64(raw[21:], uint64(b.Base))
	binary.BigEndian.PutUint32(raw[29:], uint32(b.LeaderEpoch))
	raw = append(raw, body...)
	binary.BigEndian.PutUint32(raw, crc32.Checksum(raw[4:], crc32.MakeTable(crc32.Castagnoli)))
	return magic + base64.RawURLEncoding.EncodeToString(raw)
}

func TestHostileBodies(t *testing.T) {
	huge := binary.AppendUvarint(nil, math.MaxUint64)
	high := binary.AppendUvarint(nil, math.MaxInt64)
	most := binary.AppendUvarint(nil, math.MaxInt64-1000)
	for name, text := range map[string]string{
		"no body":                    seal(bound, kindRuns),
		"unknown kind":               seal(bound, 3, 1, 1),
		"kind 0":                     seal(bound, 0, 1, 1),
		"a gap without a length":     seal(bound, kindRuns, 5),
		"an unfinished number":       seal(bound, kindRuns, 5, 0x80),
		"a number of eleven bytes":   seal(bound, kindRuns, slices.Concat(slices.Repeat([]byte{0xff}, 10), []byte{1, 0})...),
		"a number with a zero byte":  seal(bound, kindRuns, 0x85, 0, 0),
		"touching runs":              seal(bound, kindRuns, 5, 0, 0, 3),
		"a huge gap":                 seal(bound, kindRuns, append(huge, 0)...),
		"a gap beyond the end":       seal(bound, kindRuns, append(high, 0)...),
		"a huge length":              seal(bound, kindRuns, append([]byte{1}, huge...)...),
		"a length beyond the end":    seal(bound, kindRuns, append([]byte{1}, most...)...),
		"good, then a huge length":   seal(bound, kindRuns, append([]byte{1, 1, 1}, high...)...),
		"a bitmap without bits":      seal(bound, kindBitmap, 5),
		"a bitmap of nothing":        seal(bound, kindBitmap, 5, 0),
		"a bitmap that begins late":  seal(bound, kindBitmap, 5, 2),
		"a bitmap with a zero byte":  seal(bound, kindBitmap, 5, 1, 0),
		"a bitmap far away":          seal(bound, kindBitmap, append(huge, 1)...),
		"a bitmap over the end":      seal(bound, kindBitmap, append(binary.AppendUvarint(nil, math.MaxInt64-1000-7), 1)...),
		"a bitmap, unfinished start": seal(bound, kindBitmap, 0x80),
	} {
		var got []Run
		var err error
		allocs := testing.AllocsPerRun(20, func() { got, err = Parse(text, bound, nil) })
		if !errors.Is(err, ErrDamaged) || got != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
		if allocs > 1 { // the good run before the hostile one
			t.Errorf("%s: %g allocations", name, allocs)
		}
	}
	// The same maker with an honest body, so that the above fail for the body alone.
	for kind, body := range map[byte][]byte{kindBitmap: {5, 7}, kindRuns: {5, 2}} {
		if got, err := Parse(seal(bound, kind, body...), bound, nil); err != nil || !slices.Equal(got, []Run{{1005, 1007}}) {
			t.Errorf("kind %d: %v, %v", kind, got, err)
		}
	}
	negative := Binding{Base: -5}
	if got, err := Parse(seal(negative, kindRuns, 5, 2), negative, nil); !errors.Is(err, ErrDamaged) || got != nil {
		t.Errorf("a base below 0: %v, %v", got, err)
	}
}

// What Fits promises, Append keeps: at the very edge, with the runs that take the most room.
func TestFitsIsRight(t *testing.T) {
	if MaxSpan < 24_000 || MaxRuns < 128 {
		t.Errorf("MaxSpan %d, MaxRuns %d: smaller than they were", MaxSpan, MaxRuns)
	}
	if Fits(MaxSpan+1, MaxSpan/2) || !Fits(MaxSpan, MaxSpan) || !Fits(math.MaxInt64, MaxRuns) || Fits(math.MaxInt64, 2000) {
		t.Error("the stated bounds are not those of Fits")
	}
	for _, span := range []int64{MaxSpan + 1, 50_000, 100_000, 1 << 20, 1 << 21, 1 << 28, 1 << 30, 1 << 40, 1 << 50, math.MaxInt64 - bound.Base - 1} {
		most := 0
		for Fits(span, most+1) {
			most++
		}
		for name, runs := range map[string][]Run{"even": spread(bound.Base, most, span/int64(most+1)), "greedy": greedy(span, most)} {
			text, kept := Append(nil, bound, runs)
			if kept != most || len(text) > MaxText {
				t.Errorf("span %d, %s: kept %d of %d runs in %d characters", span, name, kept, most, len(text))
			}
		}
		t.Logf("span %d: %d runs", span, most)
	}
}

// greedy makes n runs within a span whose numbers take as many bytes as they can: as many as
// possible of the largest size, then of the next.
func greedy(span int64, n int) []Run {
	numbers := make([]int64, 2*n)
	left := span - int64(2*n)
	for size := 62; size >= 7; size -= 7 {
		floor := int64(1) << (size / 7 * 7)
		for i := range numbers {
			if numbers[i] == 0 && left >= floor {
				numbers[i] = floor
				left -= floor
			}
		}
	}
	runs, next := make([]Run, n), bound.Base
	for i := range runs {
		first := next + max(numbers[2*i], 1)
		runs[i] = Run{first, first + numbers[2*i+1]}
		next = runs[i].Last + 1
	}
	return runs
}

func TestAllocations(t *testing.T) {
	runs := alternating(bound.Base, 1024)
	text, _ := Append(nil, bound, runs)
	asString, buf, dst := string(text), make([]byte, 0, MaxText), make([]Run, 0, len(runs))
	for name, fn := range map[string]func(){
		"encode": func() { buf, _ = Append(buf[:0], bound, runs) },
		"decode": func() { dst, _ = Parse(asString, bound, dst[:0]) },
	} {
		if n := testing.AllocsPerRun(100, fn); n > 0 {
			t.Errorf("%s: %g allocations", name, n)
		}
	}
}

func ExampleAppend() {
	text, _ := Append(nil, Binding{Base: 100}, []Run{{102, 103}, {105, 105}})
	runs, err := Parse(string(text), Binding{Base: 100}, nil)
	fmt.Println(runs, err)
	_, err = Parse(string(text), Binding{Base: 101}, nil)
	fmt.Println(err)
	// Output:
	// [{102 103} {105 105}] <nil>
	// donemeta: the done-set of another commit
}

// A broker refuses metadata above offset.metadata.max.bytes, which is 4,096 if nobody changed it:
// the number is Kafka's, not ours.
func TestNoTextIsLongerThanKafkaTakes(t *testing.T) {
	longest := 0
	for name, runs := range map[string][]Run{
		"alternating, beyond the span": alternating(bound.Base, 2*MaxSpan),
		"alternating, the span":        alternating(bound.Base, MaxSpan),
		"far apart":                    spread(bound.Base, 5000, 1<<20),
		"near":                         spread(bound.Base, 5000, 100),
	} {
		text, _ := Append(nil, bound, runs)
		if len(text) > 4096 {
			t.Errorf("%s: %d characters, Kafka takes 4096", name, len(text))
		}
		longest = max(longest, len(text))
	}
	if MaxText != 4096 || longest < 4090 {
		t.Errorf("MaxText is %d, the longest text has %d characters: all of the 4096 are of use", MaxText, longest)
	}
}
