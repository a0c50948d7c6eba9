package audit

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"github.com/ackmark/ackmark/internal/donemeta"
)

// written is an output as the model knows it.
type written struct {
	part, outPart int
	offset        int64 // of the input
	output        int   // -1: dead letter
	count         int   // of outputs, as it says; 0: it does not
	key           string
}

// scenario is inputs, commits and outputs. An output's offset is its place among those of its
// partition.
type scenario struct {
	inputs    [][]int64 // offsets by partition
	committed []int64
	doneSet   []map[int64]bool
	outputs   []written
	expect    Expect
	memory    int64
}

func drawScenario(t *rapid.T) scenario {
	const parts, span = 2, 12
	s := scenario{expect: Expect{Min: int32(rapid.IntRange(0, 2).Draw(t, "least"))}, memory: rapid.Int64Range(0, 40*entryBytes).Draw(t, "memory")}
	s.expect.Max = s.expect.Min + int32(rapid.IntRange(1, 3).Draw(t, "more"))
	for range parts {
		var offsets []int64
		for offset := range int64(span) {
			if rapid.IntRange(0, 5).Draw(t, "there") > 0 {
				offsets = append(offsets, offset)
			}
		}
		s.inputs = append(s.inputs, offsets)
		s.committed = append(s.committed, rapid.Int64Range(-1, span).Draw(t, "committed"))
		done := map[int64]bool{}
		for _, offset := range rapid.SliceOfN(rapid.Int64Range(0, span-1), 0, 4).Draw(t, "done-set") {
			if offset >= s.committed[len(s.committed)-1] {
				done[offset] = true
			}
		}
		s.doneSet = append(s.doneSet, done)
	}
	for range rapid.IntRange(0, 60).Draw(t, "outputs") {
		w := written{
			part: rapid.IntRange(0, parts-1).Draw(t, "part"), outPart: rapid.IntRange(0, 1).Draw(t, "to"),
			offset: rapid.Int64Range(0, span-1).Draw(t, "offset"), output: rapid.IntRange(-1, 3).Draw(t, "output"),
			key: rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "key"),
		}
		if rapid.Bool().Draw(t, "counted") {
			w.count = rapid.IntRange(max(w.output+1, 1), 4).Draw(t, "count")
		}
		s.outputs = append(s.outputs, w)
	}
	return s
}

// model judges with maps, all in memory.
func (s *scenario) model() Counts {
	var c Counts
	type name struct {
		part   int
		offset int64
		output int
	}
	type input struct {
		part   int
		offset int64
	}
	type claim struct {
		input
		output, count int
	}
	seen := map[name]int{}
	firstAt := map[string]bool{} // an output's first occurrence in an output partition
	type lane struct {
		outPart, part int
		key           string
	}
	newest := map[lane][2]int64{}
	claimed := map[input]map[int]bool{} // counts that are named, 0 for outputs that name none
	says := map[claim]bool{}
	for _, w := range s.outputs {
		if from := (input{w.part, w.offset}); w.output >= 0 {
			if claimed[from] == nil {
				claimed[from] = map[int]bool{}
			}
			claimed[from][w.count] = true
			says[claim{from, w.output, w.count}] = true
		}
		seen[name{w.part, w.offset, w.output}]++
		at := fmt.Sprint(w.part, w.offset, w.output, w.outPart)
		if firstAt[at] {
			continue
		}
		firstAt[at] = true
		l, now := lane{w.outPart, w.part, w.key}, [2]int64{w.offset, int64(w.output)}
		before, there := newest[l]
		switch {
		case w.key == "":
		case there && (now[0] < before[0] || now[0] == before[0] && now[1] < before[1]):
			c.Reordered++
		default:
			newest[l] = now
		}
	}
	// By one of the counts that are named all are there; where none is named, there is no hole.
	whole := func(part int, offset int64, found, highest int) bool {
		from, named := input{part, offset}, false
		for count := range claimed[from] {
			all := count > 0
			for output := range count {
				all = all && (says[claim{from, output, count}] || says[claim{from, output, 0}])
			}
			if all {
				return true
			}
			named = named || count > 0
		}
		return !named && highest == found-1
	}
	for _, n := range seen {
		c.Duplicated += int64(n - 1)
	}
	for part, offsets := range s.inputs {
		for _, offset := range offsets {
			c.Inputs++
			if offset >= s.committed[part] && !s.doneSet[part][offset] {
				c.InFlight++
				continue
			}
			c.Done++
			found, highest := 0, -1
			for output := range 4 {
				if seen[name{part, offset, output}] > 0 {
					found++
					highest = output
				}
			}
			c.Surplus += int64(max(0, found-int(s.expect.Max)))
			switch {
			case seen[name{part, offset, -1}] > 0:
				c.DeadLettered++
			case found < int(s.expect.Min) || !whole(part, offset, found, highest):
				c.Lost++
			case found == 0:
				c.Filtered++
			}
		}
	}
	return c
}

func (s *scenario) plan() (*plan, *Report) {
	report := &Report{First: map[Kind][]Finding{}}
	topic := &TopicReport{Topic: "in"}
	out := &OutputReport{Topic: "out"}
	report.Inputs, report.Outputs = []*TopicReport{topic}, []*OutputReport{out}
	p := &plan{byTopic: map[string][]int32{}}
	for part := range s.inputs {
		r := &PartitionReport{Partition: int32(part)}
		topic.Partitions = append(topic.Partitions, r)
		in := &input{topic: "in", partition: int32(part), high: math.MaxInt64, end: 100, committed: s.committed[part], report: r}
		for _, offset := range slices.Sorted(maps.Keys(s.doneSet[part])) {
			in.done = append(in.done, donemeta.Run{First: offset, Last: offset})
		}
		p.byTopic["in"] = append(p.byTopic["in"], int32(len(p.inputs)))
		p.inputs = append(p.inputs, in)
	}
	for i := range int32(2) {
		p.outputs = append(p.outputs, &output{topic: "out", partition: i, report: out})
	}
	return p, report
}

func sourceRecord(topic string, part int, offset int64, out, count int) []kgo.RecordHeader {
	text := strconv.Itoa(out)
	if out < 0 {
		text = DeadLetter
	}
	if count > 0 {
		text += fmt.Sprintf("/%d//%s", count, "g")
	}
	return []kgo.RecordHeader{{Key: HeaderSource, Value: fmt.Appendf(nil, "%s/%d/%d/%s", topic, part, offset, text)}}
}

// audit puts the scenario through everything but Kafka.
func (s *scenario) audit(dir string) (*Report, error) {
	p, report := s.plan()
	a := &audit{opts: Options{Group: "g", Expect: &s.expect, Order: OrderKey, Progress: new(Progress)}, plan: p, report: report}
	j := &judge{audit: a}
	for _, made := range []struct {
		to      **sorter
		name    string
		compare func(a, b *entry) int
	}{{&a.sources, "sources", bySource}, {&j.order, "order", byKey}, {&j.repeats, "repeats", byTime}} {
		made1, err := newSorter(dir, made.name, s.memory, made.compare)
		if err != nil {
			return nil, err
		}
		made1.fanIn = 2 // merges of merges
		*made.to = made1
	}
	now := time.UnixMilli(1_000_000)
	for part, offsets := range s.inputs {
		for _, offset := range offsets {
			if err := a.takeInputs(int32(part), []*kgo.Record{{Offset: offset, Timestamp: now}}); err != nil {
				return nil, err
			}
		}
	}
	next := map[int]int64{}
	for _, w := range s.outputs {
		rec := &kgo.Record{Offset: next[w.outPart], Timestamp: now, Headers: sourceRecord("in", w.part, w.offset, w.output, w.count)}
		if w.key != "" {
			rec.Key = []byte(w.key)
		}
		next[w.outPart]++
		if err := a.takeOutputs(int32(w.outPart), p.outputs[w.outPart], []*kgo.Record{rec}); err != nil {
			return nil, err
		}
	}
	return report, j.judge(context.Background())
}

// Whatever was read, written and committed, with memory for nothing or for all: the verdict is that
// of the model.
func TestAgainstTheModel(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		s := drawScenario(t)
		report, err := s.audit(dir)
		if err != nil {
			t.Fatal(err)
		}
		if diff := gocmp.Diff(s.model(), report.Counts); diff != "" {
			t.Fatalf("model (-), audit (+):\n%s", diff)
		}
	})
}

// What is sorted comes out in order and complete, however little memory there is.
func TestSorter(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		draw := rapid.Custom(func(t *rapid.T) entry {
			e := entry{part: rapid.Int32().Draw(t, "part"), offset: rapid.Int64().Draw(t, "offset"), time: rapid.Int64().Draw(t, "time"), output: inputItself}
			if rapid.Bool().Draw(t, "an output") {
				e.output, e.outPart = rapid.Int32Range(-1, math.MaxInt32).Draw(t, "output"), rapid.Int32().Draw(t, "to")
				e.at, e.cause, e.count = rapid.Int64().Draw(t, "at"), rapid.Int32().Draw(t, "cause"), rapid.Int32().Draw(t, "count")
				e.key = key{rapid.Uint64().Draw(t, "key"), rapid.Uint64().Draw(t, "key")}
			}
			return e
		})
		all := rapid.SliceOfN(draw, 0, 200).Draw(t, "entries")
		total := func(a, b entry) int {
			return cmp.Or(bySource(&a, &b), cmp.Compare(a.time, b.time), cmp.Compare(a.cause, b.cause), cmp.Compare(a.count, b.count), cmp.Compare(a.key[0], b.key[0]), cmp.Compare(a.key[1], b.key[1]))
		}
		s, err := newSorter(dir, "t", rapid.Int64Range(0, 100*entryBytes).Draw(t, "memory"), func(a, b *entry) int { return total(*a, *b) })
		if err != nil {
			t.Fatal(err)
		}
		s.fanIn = rapid.IntRange(2, 4).Draw(t, "files at a time")
		if err := s.add(all...); err != nil {
			t.Fatal(err)
		}
		if cap(s.buf) > max(s.limit, 1) {
			t.Fatalf("%d entries in memory, more than %d", cap(s.buf), s.limit)
		}
		var got []entry
		if err := s.each(func(e *entry) error { got = append(got, *e); return nil }); err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(all, total)
		if !slices.Equal(all, got) {
			t.Fatalf("want %v\ngot  %v", all, got)
		}
	})
}
