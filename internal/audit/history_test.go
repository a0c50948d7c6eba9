package audit_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"github.com/ackmark/ackmark/internal/audit"
)

// place is an input, by partition and offset.
type place struct {
	partition int32
	offset    int64
}

// history is all that was ever written, before retention came: what an audit cannot know and must
// not contradict.
type history struct {
	inputs    [2][]time.Time
	made      map[place]bool // all outputs of it were written, by this group, or a dead letter
	outputs   []*kgo.Record
	committed [2]int64
	cutIn     [2]int64
	cutOut    [2]int64
	ends      [2]int64 // of the outputs
	from      time.Time
}

// drawClock draws what a producer may write as the time: none of it means anything.
func drawClock(t *rapid.T) time.Time {
	year := 365 * 24 * time.Hour
	return rapid.SampledFrom([]time.Time{
		time.UnixMilli(0), time.UnixMilli(1), time.UnixMilli(-year.Milliseconds()), began, began.Add(time.Minute), began.Add(time.Hour), began.Add(-30 * year), began.Add(30 * year),
	}).Draw(t, "clock")
}

func drawHistory(t *rapid.T, in, out string) *history {
	h := &history{made: map[place]bool{}}
	for partition := range h.inputs {
		for range rapid.IntRange(1, 6).Draw(t, "inputs") {
			at := place{int32(partition), int64(len(h.inputs[partition]))}
			h.inputs[partition] = append(h.inputs[partition], drawClock(t))
			count := rapid.IntRange(1, 3).Draw(t, "outputs")
			whole := true
			write := func(number, by string) {
				h.outputs = append(h.outputs, &kgo.Record{Topic: out, Partition: rapid.Int32Range(0, 1).Draw(t, "to"), Key: []byte("k"), Timestamp: drawClock(t),
					Headers: []kgo.RecordHeader{sourceHeader("%s/%d/%d/%s/%d//%s", in, at.partition, at.offset, number, count, by)}})
			}
			for number := range count {
				switch rapid.IntRange(0, 7).Draw(t, "fate") {
				case 0:
					whole = false
				case 1:
					whole = false
					write(fmt.Sprint(number), "other")
				case 2: // twice
					write(fmt.Sprint(number), group)
					fallthrough
				default:
					write(fmt.Sprint(number), group)
				}
			}
			if !whole && rapid.IntRange(0, 3).Draw(t, "rejected") == 0 {
				whole = true
				write(audit.DeadLetter, group)
			}
			h.made[at] = whole
		}
		n := int64(len(h.inputs[partition]))
		h.committed[partition] = rapid.Int64Range(0, n).Draw(t, "committed")
		if rapid.Bool().Draw(t, "cut") {
			h.cutIn[partition] = rapid.Int64Range(0, n).Draw(t, "cut in")
		}
	}
	h.outputs = rapid.Permutation(h.outputs).Draw(t, "order")
	for _, r := range h.outputs {
		h.ends[r.Partition]++
	}
	for partition := range h.cutOut {
		if rapid.IntRange(0, 2).Draw(t, "cut") == 0 {
			h.cutOut[partition] = rapid.Int64Range(0, h.ends[partition]).Draw(t, "cut out")
		}
	}
	if rapid.IntRange(0, 3).Draw(t, "some") == 0 {
		h.from = rapid.SampledFrom([]time.Time{time.UnixMilli(0), began, began.Add(time.Hour), began.AddDate(1, 0, 0)}).Draw(t, "from")
	}
	return h
}

// missing are the inputs that are there, done, and miss an output that was never written.
func (h *history) missing() (all []place) {
	for partition, inputs := range h.inputs {
		for offset := range int64(len(inputs)) {
			at := place{int32(partition), offset}
			if offset >= h.cutIn[partition] && offset < h.committed[partition] && !h.made[at] {
				all = append(all, at)
			}
		}
	}
	return all
}

// Whatever the clocks of the records say and wherever retention has cut both sides: lost is what
// was never written, clean that all was, and where nothing of the outputs is deleted, nothing is
// left open.
func TestNeverByTheClocks(t *testing.T) {
	w := newWorld(t, nil)
	round := 0
	rapid.Check(t, func(t *rapid.T) {
		round++
		in, out, name := fmt.Sprintf("in%d", round), fmt.Sprintf("out%d", round), fmt.Sprintf("g%d", round)
		h := drawHistory(t, in, out)
		w.must(w.cluster.CreateTopic(in, 2, nil))
		w.must(w.cluster.CreateTopic(out, 2, nil))
		for partition, clocks := range h.inputs {
			for _, clock := range clocks {
				w.produce(&kgo.Record{Topic: in, Partition: int32(partition), Timestamp: clock})
			}
		}
		for _, r := range h.outputs {
			r.Headers[0].Value = bytes.Replace(r.Headers[0].Value, []byte("//"+group), []byte("//"+name), 1)
		}
		w.produce(h.outputs...)
		var commits kadm.Offsets
		for partition := range int32(2) {
			commits.Add(kadm.Offset{Topic: in, Partition: partition, At: h.committed[partition], LeaderEpoch: -1})
			w.must(w.cluster.DeleteRecords(in, partition, h.cutIn[partition]))
			w.must(w.cluster.DeleteRecords(out, partition, h.cutOut[partition]))
		}
		w.must(w.admin.CommitAllOffsets(w.Context(), name, commits))

		var lines bytes.Buffer
		o := audit.Options{Client: w.client, Group: name, Outputs: []string{out}, TempDir: w.TempDir(), From: h.from, Findings: &lines}
		r := w.run(o)
		var lost, undecided []place
		for s := bufio.NewScanner(&lines); s.Scan(); {
			var f audit.Finding
			w.must(json.Unmarshal(s.Bytes(), &f))
			switch f.Kind {
			case audit.Lost:
				lost = append(lost, place{f.Partition, f.Offset})
			case audit.Undecided:
				undecided = append(undecided, place{f.Partition, f.Offset})
			}
		}
		missing, cut := h.missing(), h.cutOut != [2]int64{}
		for _, at := range lost {
			if !slices.Contains(missing, at) {
				t.Errorf("%v is called lost, and nothing of it was", at)
			}
		}
		if !cut && len(undecided) > 0 && r.Unknown.NoHeaders == 0 {
			t.Errorf("%v are undecided, though no output was ever deleted", undecided)
		}
		if len(undecided) > 0 && len(r.Notes) == 0 {
			t.Error("undecided, and no note says why")
		}
		if !h.from.IsZero() {
			return // which inputs that chooses is another matter
		}
		for _, at := range missing {
			if !slices.Contains(lost, at) && !slices.Contains(undecided, at) {
				t.Errorf("%v is lost, and not found", at)
			}
		}
		unhandled := h.committed[0] < h.cutIn[0] || h.committed[1] < h.cutIn[1]
		if r.Verdict == audit.VerdictClean && (len(missing) > 0 || unhandled) {
			t.Errorf("clean, though %v are lost; inputs deleted before they were done: %t", missing, unhandled)
		}
		if (r.Verdict == audit.VerdictLost) != (len(lost) > 0) {
			t.Errorf("%s with %d lost", r.Verdict, len(lost))
		}
	})
}
