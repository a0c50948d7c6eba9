package verify

import (
	"bytes"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestGeneratorIsDeterministic(t *testing.T) {
	a, b := NewGenerator(GeneratorConfig{Seed: 7}), NewGenerator(GeneratorConfig{Seed: 7})
	seqs := map[uint32]uint64{}
	for i := range uint64(1000) {
		x, y := a.Next(), b.Next()
		if !bytes.Equal(x.Value, y.Value) || !bytes.Equal(x.Key, y.Key) {
			t.Fatalf("input %d differs: %q, %q", i, x.Value, y.Value)
		}
		if x.ID.Global != i || x.ID.Seq != seqs[x.ID.Key] {
			t.Fatalf("id %+v, want global %d, seq %d", x.ID, i, seqs[x.ID.Key])
		}
		if len(x.Value) != 100 {
			t.Fatalf("%d bytes, want 100: %q", len(x.Value), x.Value)
		}
		seqs[x.ID.Key]++
	}
	if x := NewGenerator(GeneratorConfig{Seed: 8}).Next(); bytes.Equal(x.Value, NewGenerator(GeneratorConfig{Seed: 9}).Next().Value) {
		t.Fatal("another seed, the same input")
	}
}

func TestValueSurvives(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := ID{
			Global: rapid.Uint64Range(0, MaxID-1).Draw(t, "id"), Key: rapid.Uint32().Draw(t, "key"),
			Seq: rapid.Uint64().Draw(t, "seq"), Out: rapid.IntRange(0, 9).Draw(t, "out"),
		}
		value := AppendValue(nil, id, []byte(rapid.String().Draw(t, "text")))
		for name, v := range map[string][]byte{"as it is": value, "upper-cased": bytes.ToUpper(value), "lower-cased": bytes.ToLower(value)} {
			if got, err := Parse(v); err != nil || got != id {
				t.Fatalf("%s: %q is %v, %v", name, v, got, err)
			}
		}
		marked := WithOut(value, 5)
		if got, err := Parse(marked); err != nil || got.Out != 5 || got.Global != id.Global {
			t.Fatalf("marked: %q is %v, %v", marked, got, err)
		}
	})
}

func TestParseRefuses(t *testing.T) {
	good := string(AppendValue(nil, ID{Global: 5, Key: 6, Seq: 7}, []byte("hello, world")))
	for _, bad := range []string{
		"", "hello", "id=", "id=x key=1 seq=1 out=0 sum=0 ", "id=1 key=1 seq=1", "id=99999999999999 key=1 seq=1 out=0 sum=00000000 x",
		"id=1 key=99999999999 seq=1 out=0 sum=00000000 x", strings.Replace(good, "world", "w0rld", 1), strings.Replace(good, "id=5", "id=6", 1),
		good[:len(good)-1], strings.Replace(good, "key=6", "key=8", 1),
	} {
		if id, err := Parse([]byte(bad)); err == nil {
			t.Errorf("%q passed as %v", bad, id)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("id=1 key=2 seq=3 out=0 sum=00000000 x"))
	f.Fuzz(func(t *testing.T, value []byte) {
		if id, err := Parse(value); err == nil && id.Global >= MaxID {
			t.Fatalf("%v of %q is out of range", id, value)
		}
	})
}

// history feeds five inputs of one key and one of another, and lets the case arrange the outputs.
func history(arrange func(out [][]byte) [][]byte) OutputsResult {
	var outs [][]byte
	for i := range uint64(5) {
		outs = append(outs, bytes.ToUpper(AppendValue(nil, ID{Global: i, Key: 1, Seq: i}, []byte("some text"))))
	}
	outs = append(outs, AppendValue(nil, ID{Global: 5, Key: 2}, []byte("other text")))
	check := NewOutputs(OutputsConfig{Name: "run", Inputs: 6})
	for offset, v := range arrange(outs) {
		key := KeyBytes(1)
		if bytes.Contains(bytes.ToLower(v), []byte("key=2")) {
			key = KeyBytes(2)
		}
		check.Add(0, int64(offset), key, v)
	}
	return check.Result()
}

func TestOutputs(t *testing.T) {
	type lists = [][]byte
	for _, c := range []struct {
		name    string
		arrange func(lists) lists
		want    string
		names   []string
	}{
		{"fine", func(o lists) lists { return o }, "run: 6 inputs, 6 outputs, 0 lost, 0 duplicated, 0 reordered, 0 unknown, 0 corrupt", nil},
		{"keys may overtake each other", func(o lists) lists { return lists{o[5], o[0], o[1], o[2], o[3], o[4]} }, "", nil},
		{"lost", func(o lists) lists { return o[1:] }, "1 lost, 0 dup", []string{"S1 lost output (1)"}},
		{"a tail again", func(o lists) lists { return append(o, o[3], o[4], o[4]) }, "9 outputs, 0 lost, 3 duplicated, 0 reordered", []string{"S6 duplicate beyond the bound (1)"}},
		{"swapped", func(o lists) lists { o[1], o[2] = o[2], o[1]; return o }, "1 reordered", []string{"S7 reordered (1)"}},
		{"a repeat does not reorder", func(o lists) lists { return append(lists{o[0], o[1], o[0], o[1]}, o[2:]...) }, "2 duplicated, 0 reordered", []string{"S6 duplicate beyond the bound (1)"}},
		{"unknown", func(o lists) lists {
			return append(o, []byte("hello"), AppendValue(nil, ID{Global: 6, Key: 1, Seq: 9}, nil))
		}, "2 unknown, 0 corrupt", []string{"S12 output of no input (1)"}},
		{"an output number too many", func(o lists) lists { return append(o, WithOut(o[0], 1)) }, "1 unknown", []string{"S12 output of no input (1)"}},
		{"damaged", func(o lists) lists {
			o[0] = bytes.Replace(o[0], []byte("SOME"), []byte("SAME"), 1)
			return o
		}, "1 lost, 0 duplicated, 0 reordered, 0 unknown, 1 corrupt", []string{"S1 lost output (1)", "S12 corrupt output (1)"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			res := history(c.arrange)
			if !strings.Contains(res.String(), c.want) {
				t.Errorf("%s\nwant %s\n%s", res, c.want, res.Details())
			}
			if got := strings.Join(res.Violations(0).Names(), ", "); got != strings.Join(c.names, ", ") {
				t.Errorf("violations %s, want %s", got, c.names)
			}
		})
	}
}

func TestOutputsUnderAnotherKeyOrInTwoPartitions(t *testing.T) {
	value := func(seq uint64) []byte { return AppendValue(nil, ID{Global: seq, Key: 1, Seq: seq}, nil) }
	check := NewOutputs(OutputsConfig{Inputs: 3})
	check.Add(0, 0, KeyBytes(1), value(0))
	check.Add(0, 1, KeyBytes(2), value(1))
	check.Add(1, 0, KeyBytes(1), value(2))
	res := check.Result()
	if res.Corrupt != 1 || res.Split != 1 || res.Lost != 1 || check.Missing() != 1 || check.Seen() != 2 {
		t.Fatalf("%+v", res)
	}
	if !res.Violations(0).Has(KeySplit) {
		t.Errorf("violations %s", res.Violations(0).Names())
	}
}

// As many repeats as the incidents explain are allowed, and not one more.
func TestBoundOfDuplicates(t *testing.T) {
	res := history(func(o [][]byte) [][]byte { return append(o, o[3], o[4], o[4]) })
	for most, want := range map[int64]bool{2: true, 3: false, -1: false} {
		if got := res.Violations(most).Has(TooManyDuplicates); got != want {
			t.Errorf("3 repeats, at most %d: violated %t", most, got)
		}
	}
}

func TestOutputsExpect(t *testing.T) {
	check := NewOutputs(OutputsConfig{PerInput: 2, Expect: func(id uint64) int { return int(id % 3) }}) // none, one, two
	for id := range uint64(30) {
		value := AppendValue(nil, ID{Global: id, Seq: id}, nil)
		check.Input(value)
		for out := range int(id % 3) {
			check.Add(0, 0, nil, WithOut(value, out))
		}
	}
	if res := check.Result(); res.Lost != 0 || res.Inputs != 30 || res.Outputs != 30 || res.Violations(0).Err() != nil {
		t.Fatalf("%s %v", res, res.Violations(0).Err())
	}
	check.Input(AppendValue(nil, ID{Global: 32, Seq: 32}, nil))
	if res := check.Result(); res.Lost != 2 || len(res.LostIDs) != 2 || res.LostIDs[0] != "id=32 out=0" {
		t.Fatalf("%s %v", res, res.LostIDs)
	}
}

// TestOutputsAgainstTheModel lets a random log of outputs be judged by maps and lists.
func TestOutputsAgainstTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := NewGenerator(GeneratorConfig{Seed: rapid.Uint64().Draw(t, "seed"), Keys: rapid.IntRange(1, 5).Draw(t, "keys")})
		in := make([]Input, rapid.IntRange(1, 40).Draw(t, "inputs"))
		for i := range in {
			in[i] = g.Next()
		}
		check := NewOutputs(OutputsConfig{Inputs: uint64(len(in))})
		times, last := map[uint64]uint64{}, map[uint32]uint64{}
		var want OutputsResult
		for i, pick := range rapid.SliceOf(rapid.IntRange(0, len(in)-1)).Draw(t, "log") {
			x := in[pick]
			check.Add(0, int64(i), x.Key, bytes.ToUpper(x.Value))
			want.Outputs++
			if times[x.ID.Global]++; times[x.ID.Global] > 1 {
				want.Duplicated++
				continue
			}
			if x.ID.Seq < last[x.ID.Key] {
				want.Reordered++
			}
			last[x.ID.Key] = max(last[x.ID.Key], x.ID.Seq)
		}
		want.Inputs, want.Lost = uint64(len(in)), uint64(len(in)-len(times))
		for _, n := range times {
			if n > 1 {
				want.Repeated++
			}
		}
		got := check.Result()
		if got.String() != want.String() || got.Repeated != want.Repeated {
			t.Fatalf("%s, %d repeated\nwant %s, %d repeated", got, got.Repeated, want, want.Repeated)
		}
	})
}

func TestTable(t *testing.T) {
	a, b := history(func(o [][]byte) [][]byte { return o }), history(func(o [][]byte) [][]byte { return o[2:] })
	a.Name, b.Name = "ackmark", "auto-commit"
	want := `                   ackmark  auto-commit
inputs                   6            6
outputs                  6            4
lost                     0            2
duplicated               0            0
reordered per key        0            0
unknown                  0            0
corrupt                  0            0
`
	if got := Table(a, b); got != want {
		t.Fatalf("\n%s\nwant\n%s", got, want)
	}
	if d := b.Details(); d != "auto-commit lost, first: id=0 out=0; id=1 out=0\n" && !strings.Contains(d, "id=0 out=0; id=1 out=0") {
		t.Fatalf("details %q", d)
	}
}

func BenchmarkOutputsAdd(b *testing.B) {
	b.ReportAllocs()
	g := NewGenerator(GeneratorConfig{})
	check := NewOutputs(OutputsConfig{Inputs: 1 << 30})
	in := make([]Input, 1<<16)
	for i := range in {
		in[i] = g.Next()
	}
	i := 0
	for b.Loop() {
		check.Add(0, 0, in[i%len(in)].Key, in[i%len(in)].Value)
		i++
	}
}
