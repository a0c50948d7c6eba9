package judge

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Five inputs of key 1 and one of key 2 in partition 0, and what may come of them.
func TestJudge(t *testing.T) {
	in := func(input uint64) Output { return Output{Input: input, Key: 1, Seq: input} }
	other := Output{Input: 5, Key: 2}
	altered, moved, second := in(1), in(1), in(1)
	altered.Altered, moved.Partition, second.Number = true, 1, 1
	for name, c := range map[string]struct {
		log  []Output
		want Counts
		lost uint64
	}{
		"fine":                         {[]Output{in(0), in(1), in(2), in(3), in(4), other}, Counts{Outputs: 6, Distinct: 6}, 0},
		"nothing":                      {nil, Counts{}, 6},
		"keys may overtake each other": {[]Output{other, in(0), in(1), in(2), in(3), in(4)}, Counts{Outputs: 6, Distinct: 6}, 0},
		"the first is lost":            {[]Output{in(1), in(2), in(3), in(4), other}, Counts{Outputs: 5, Distinct: 5}, 1},
		"the last is lost":             {[]Output{in(0), in(1), in(2), in(3), in(4)}, Counts{Outputs: 5, Distinct: 5}, 1},
		"again, and again": {
			[]Output{in(0), in(1), in(2), in(3), in(4), other, in(3), in(4), in(4)}, Counts{Outputs: 9, Distinct: 6, Duplicated: 3, Repeated: 2}, 0,
		},
		"swapped":                   {[]Output{in(0), in(2), in(1), in(3), in(4), other}, Counts{Outputs: 6, Distinct: 6, Reordered: 1}, 0},
		"a repeat does not reorder": {[]Output{in(0), in(1), in(0), in(2), in(3), in(4), other}, Counts{Outputs: 7, Distinct: 6, Duplicated: 1, Repeated: 1}, 0},
		"of no input":               {[]Output{in(0), in(1), in(2), in(3), in(4), other, in(6)}, Counts{Outputs: 7, Distinct: 6, Unknown: 1}, 0},
		"a number too many":         {[]Output{in(0), in(1), second, in(2), in(3), in(4), other}, Counts{Outputs: 7, Distinct: 6, Unknown: 1}, 0},
		"altered is not lost":       {[]Output{in(0), altered, in(2), in(3), in(4), other}, Counts{Outputs: 6, Distinct: 6, Altered: 1}, 0},
		"altered, again":            {[]Output{in(0), in(1), altered, in(2), in(3), in(4), other}, Counts{Outputs: 7, Distinct: 6, Duplicated: 1, Repeated: 1, Altered: 1}, 0},
		"a key in two partitions":   {[]Output{in(0), moved, in(2), in(3), in(4), other}, Counts{Outputs: 6, Distinct: 6, Split: 1}, 0},
	} {
		j := New(Config{Inputs: 6})
		for _, o := range c.log {
			j.Add(o)
		}
		if got := j.Counts(); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
		if got := j.Lost(nil); got != c.lost {
			t.Errorf("%s: %d lost, want %d", name, got, c.lost)
		}
	}
}

// Records that say nothing are counted, and make no input less lost.
func TestStrayAndDamaged(t *testing.T) {
	j := New(Config{Inputs: 1})
	j.Stray()
	j.Damaged()
	if got, want := j.Counts(), (Counts{Outputs: 2, Unknown: 1, Altered: 1}); got != want || j.Lost(nil) != 1 {
		t.Errorf("%+v, %d lost; want %+v and 1", got, j.Lost(nil), want)
	}
}

// model is the same in maps and lists.
type model struct {
	per    int
	expect map[uint64]int
	log    []Output
}

func (m *model) counts() (c Counts, lost []Output) {
	type one struct {
		input  uint64
		number int
	}
	times := map[one]int{}
	var firsts []Output
	for _, o := range m.log {
		c.Outputs++
		if _, fed := m.expect[o.Input]; !fed || o.Number >= m.per {
			c.Unknown++
			continue
		}
		if o.Altered {
			c.Altered++
		}
		id := one{o.Input, o.Number}
		if times[id]++; times[id] == 2 {
			c.Repeated++
		}
		if times[id] > 1 {
			c.Duplicated++
			continue
		}
		home, late := o.Partition, false
		for i := len(firsts) - 1; i >= 0; i-- {
			if before := firsts[i]; before.Key == o.Key {
				home, late = before.Partition, late || before.Seq > o.Seq
			}
		}
		if late {
			c.Reordered++
		}
		if home != o.Partition {
			c.Split++
		}
		firsts = append(firsts, o)
		c.Distinct++
	}
	for input := range uint64(64) {
		for number := range m.expect[input] {
			if times[one{input, number}] == 0 {
				lost = append(lost, Output{Input: input, Number: number})
			}
		}
	}
	return c, lost
}

// A random log of outputs of random inputs is judged as the model judges it, at every step.
func TestAgainstTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{per: rapid.IntRange(1, 3).Draw(t, "per input"), expect: map[uint64]int{}}
		cfg := Config{PerInput: m.per, Expect: func(input uint64) int { return m.expect[input] }}
		inputs := rapid.Uint64Range(1, 40).Draw(t, "inputs")
		some := rapid.Bool().Draw(t, "not all are fed")
		if !some {
			cfg.Inputs = inputs
		}
		j := New(cfg)
		for input := range inputs {
			if !some || rapid.Bool().Draw(t, "fed") {
				m.expect[input] = rapid.IntRange(0, m.per).Draw(t, "expected")
				j.Fed(input)
			}
		}
		if got := j.Inputs(); got != uint64(len(m.expect)) {
			t.Fatalf("%d inputs, want %d", got, len(m.expect))
		}
		for range rapid.IntRange(0, 80).Draw(t, "outputs") {
			input := rapid.Uint64Range(0, inputs).Draw(t, "input") // one more than there are
			o := Output{
				Input: input, Number: rapid.IntRange(0, m.per).Draw(t, "number"), Key: uint32(input % 3), Seq: input,
				Partition: rapid.Int32Range(0, 1).Draw(t, "partition"), Altered: rapid.Bool().Draw(t, "altered"),
			}
			before, _ := m.counts()
			m.log = append(m.log, o)
			want, lost := m.counts()
			f := j.Add(o)
			if got := j.Counts(); got != want {
				t.Fatalf("%+v\nwant %+v", got, want)
			}
			found := Found{want.Unknown > before.Unknown, want.Duplicated > before.Duplicated, want.Reordered > before.Reordered, want.Split > before.Split}
			if f != found || f.First() != (want.Distinct > before.Distinct) {
				t.Fatalf("%+v, want %+v", f, found)
			}
			var missing []Output
			if n := j.Lost(func(input uint64, number int) { missing = append(missing, Output{Input: input, Number: number}) }); n != uint64(len(lost)) || !slices.Equal(missing, lost) {
				t.Fatalf("%d lost: %v\nwant %v", n, missing, lost)
			}
			if f.First() && !j.Seen(o.Input, o.Number) {
				t.Fatalf("%+v is not seen", o)
			}
		}
	})
}

// What a million outputs cost.
func BenchmarkAdd(b *testing.B) {
	b.ReportAllocs()
	j := New(Config{Inputs: 1 << 30})
	var i uint64
	for b.Loop() {
		j.Add(Output{Input: i % (1 << 20), Key: uint32(i % 100), Seq: i})
		i++
	}
}
