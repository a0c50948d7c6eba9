package audit_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/audit"
	"github.com/ackmark/ackmark/pipeline"
)

// The two packages do not know each other.
func TestHeadersAreThoseOfThePipeline(t *testing.T) {
	if audit.HeaderSource != pipeline.HeaderSource || audit.DeadLetter != pipeline.SourceDeadLetter || audit.HeaderIncident != pipeline.HeaderIncident {
		t.Errorf("%s and %s here, %s and %s in pipeline", audit.HeaderSource, audit.DeadLetter, pipeline.HeaderSource, pipeline.SourceDeadLetter)
	}
}

// Offsets that compaction took from the inputs are no losses, and what it took from the outputs is
// undecided. A compacted topic that still has all is decided.
func TestCompaction(t *testing.T) {
	for name, tc := range map[string]struct {
		key     func(offset int64) string // of an output
		verdict audit.Verdict
	}{
		"outputs of one key":   {func(int64) string { return "k" }, audit.VerdictUndecided},
		"outputs of many keys": {func(offset int64) string { return fmt.Sprint(offset) }, audit.VerdictLost},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, map[string]string{"cleanup.policy": "compact"})
			for i := range int64(10) { // a batch each, so that there is something to compact
				key := "same"
				if i%3 == 0 {
					key = fmt.Sprint(i)
				}
				w.produce(&kgo.Record{Topic: "in", Key: []byte(key), Value: []byte("x"), Timestamp: began})
				if i != 9 {
					made := w.made(i, "0", tc.key(i))
					made.Value = []byte("x")
					w.produce(made)
				}
			}
			w.commit(10, "")
			w.cluster.Compact()
			r := w.run(w.options())
			if c := r.Counts; r.Verdict != tc.verdict || c.Inputs >= 10 || c.Lost > 0 && c.Lost != 1 || c.Lost > 0 && c.Undecided > 0 {
				t.Error(text(r), r.Notes)
			}
		})
	}
}

// The end of a partition may be a marker, or records of a transaction that was aborted: the audit
// passes them, and does not take them for outputs.
func TestTransactions(t *testing.T) {
	w := newWorld(t, nil)
	w.in(0, 3)
	w.commit(3, "")
	tx := w.newClient(kgo.TransactionalID("tx"))
	ctx := t.Context()
	for offset, how := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort, kgo.TryCommit, kgo.TryAbort} {
		w.must(tx.BeginTransaction())
		w.must(tx.ProduceSync(ctx, w.made(int64(offset)%3, "0", "k")).FirstErr())
		w.must(tx.EndTransaction(ctx, how))
	}
	if got, want := text(w.run(w.options())), "lost: 3 inputs, 3 done, 1 lost"; got != want {
		t.Errorf("want %s\n got %s", want, got)
	}
	o := w.options()
	o.ReadUncommitted = true
	if got, want := text(w.run(o)), "clean: 3 inputs, 3 done, 1 duplicated"; got != want {
		t.Errorf("want %s\n got %s", want, got)
	}
}

func TestFromAndUntil(t *testing.T) {
	w := newWorld(t, nil)
	w.in(0, 10)
	w.commit(10, "")
	w.out(4, 5, 6, 7) // 0 to 3 are lost, 8 and 9 too
	o := w.options()
	o.From, o.Until = began.Add(2*time.Second), began.Add(9*time.Second)
	r := w.run(o)
	if got, want := text(r), "lost: 7 inputs, 7 done, 3 lost"; got != want || !slices.Equal(offsets(r, audit.Lost), []int64{2, 3, 8}) {
		t.Errorf("want %s\n got %s %v", want, got, offsets(r, audit.Lost))
	}
	o.From, o.Until = began.Add(4*time.Second), began.Add(6*time.Second)
	if got, want := text(w.run(o)), "clean: 2 inputs, 2 done, 2 outside"; got != want {
		t.Errorf("want %s\n got %s", want, got)
	}
	o.From, o.Until = time.Now().Add(time.Hour), time.Time{}
	if got := w.run(o); got.Verdict != audit.VerdictUndecided || got.Counts.Inputs != 0 {
		t.Error(text(got))
	}
}

// Many records, and memory for few of them: all findings are there, each with its place, and
// nothing is left on the disk.
func TestMoreThanMemory(t *testing.T) {
	w := newWorld(t, nil)
	const n = 60_000
	w.in(0, n)
	w.commit(n, "")
	lost := []int64{0, 777, 30_001, n - 1}
	var all []int64
	for i := range int64(n) {
		if !slices.Contains(lost, i) {
			all = append(all, i)
		}
		if i%10_000 == 9 { // repeats
			all = append(all, 5, 6)
		}
	}
	w.out(all...)
	o := w.options()
	o.Memory = audit.MinMemory
	var lines bytes.Buffer
	o.Findings, o.Progress = &lines, new(audit.Progress)
	r := w.run(o)
	if got, want := text(r), fmt.Sprintf("lost: %d inputs, %d done, 4 lost, 12 duplicated", n, n); got != want {
		t.Errorf("want %s\n got %s", want, got)
	}
	if got := offsets(r, audit.Lost); !slices.Equal(got, lost) {
		t.Errorf("lost %v, want %v", got, lost)
	}
	if r.Runs < 10 {
		t.Errorf("%d sorted files: that was in memory", r.Runs)
	}
	kinds := map[audit.Kind]int{}
	for s := bufio.NewScanner(&lines); s.Scan(); {
		var f audit.Finding
		w.must(json.Unmarshal(s.Bytes(), &f))
		kinds[f.Kind]++
	}
	if kinds[audit.Lost] != 4 || kinds[audit.Duplicated] != 12 {
		t.Error(kinds)
	}
	if left, _ := os.ReadDir(o.TempDir); len(left) > 0 {
		t.Error("left behind:", left)
	}
	if p := o.Progress; p.Passed.Load() != p.Offsets.Load() || p.Records.Load() != 2*n+12-4 || p.Compared.Load() != p.Entries.Load() {
		t.Errorf("progress: %d of %d offsets, %d records, %d of %d entries", p.Passed.Load(), p.Offsets.Load(), p.Records.Load(), p.Compared.Load(), p.Entries.Load())
	}
}

// Repeats are put together by what was recorded with them, the others by their time.
func TestBursts(t *testing.T) {
	w := newWorld(t, nil)
	w.in(0, 10)
	w.commit(10, "")
	w.out(upTo(10)...)
	repeat := func(offset int64, at time.Duration, incident string) {
		r := w.made(offset, "0", "k")
		r.Timestamp = began.Add(at)
		if incident != "" {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: audit.HeaderIncident, Value: []byte(incident)})
		}
		w.produce(r)
	}
	repeat(1, time.Minute, "")
	repeat(2, time.Minute+9*time.Second, "")
	repeat(3, time.Minute+20*time.Second, "")
	repeat(4, time.Minute, "resent: session lost")
	repeat(5, 10*time.Minute, "resent: session lost")
	r := w.run(w.options())
	var got []string
	for _, b := range r.Bursts {
		got = append(got, fmt.Sprintf("%d from %s to %s %s", b.Repeats, b.First.Sub(began), b.Last.Sub(began), b.Incident))
	}
	want := []string{"2 from 1m0s to 1m9s ", "1 from 1m20s to 1m20s ", "2 from 1m0s to 10m0s resent: session lost"}
	if !slices.Equal(got, want) {
		t.Errorf("want %q\n got %q", want, got)
	}
	f := r.First[audit.Duplicated][0]
	if f.Offset != 1 || f.First.Offset != 1 || f.At.Offset != 10 || f.Output != "0" {
		t.Errorf("%+v first %+v at %+v", f, f.First, f.At)
	}
}

// In flight are listed as runs, and a reordered output with what it stands behind.
func TestFindings(t *testing.T) {
	w := newWorld(t, nil)
	w.in(0, 10)
	w.out(0, 2, 1, 6)
	w.commit(3, w.doneSet(3))
	r := w.run(w.options())
	f := r.First[audit.InFlight]
	if len(f) != 1 || f[0].Offset != 3 || f[0].Last != 9 || f[0].Inputs != 7 {
		t.Errorf("%+v", f)
	}
	x := r.First[audit.Reordered]
	if len(x) != 1 || x[0].Offset != 1 || *x[0].Behind != 2 || x[0].At.Offset != 2 || x[0].First.Offset != 1 {
		t.Errorf("%+v", x)
	}
}

// An audit of topics that are being written ends, and does not take what is new for lost.
func TestLiveTopics(t *testing.T) {
	w := newWorld(t, nil)
	w.in(0, 1000)
	w.out(upTo(1000)...)
	w.commit(1000, "")
	ctx, stop := context.WithCancel(t.Context())
	writer := make(chan struct{})
	cl := w.newClient()
	go func() {
		defer close(writer)
		for i := int64(1000); ctx.Err() == nil; i++ { // an input, its output, and never a commit between
			_ = cl.ProduceSync(ctx, &kgo.Record{Topic: "in", Timestamp: time.Now()}).FirstErr()
			_ = cl.ProduceSync(ctx, w.made(i, "0", "k")).FirstErr()
		}
	}()
	for range 3 {
		if r := w.run(w.options()); r.Verdict != audit.VerdictClean || r.Counts.Done != 1000 {
			t.Error(text(r))
		}
	}
	stop()
	<-writer
}

// Leaders move while an audit reads.
func TestLeadersMove(t *testing.T) {
	w := newWorld(t, nil)
	const n, batch = 20_000, 1000
	var large []*kgo.Record
	for i := range n {
		large = append(large, &kgo.Record{Topic: "in", Value: bytes.Repeat([]byte{byte(i)}, 1000), Timestamp: began})
	}
	plain := w.newClient(kgo.ProducerBatchCompression(kgo.NoCompression()))
	for b := range slices.Chunk(large, batch) {
		w.must(plain.ProduceSync(t.Context(), b...).FirstErr())
	}
	w.out(upTo(n)...)
	w.commit(n, "")
	fetches, moves := 0, 0
	w.cluster.ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) {
		w.cluster.KeepControl()
		if fetches++; fetches%5 == 3 && moves < 3 { // just before the broker would answer
			moves++
			for _, topic := range []string{"in", "out"} {
				_ = w.cluster.MoveTopicPartition(topic, 0, 1-w.cluster.LeaderFor(topic, 0))
			}
		}
		return nil, nil, false
	})
	if r := w.run(w.options()); text(r) != "clean: 20000 inputs, 20000 done" || moves != 3 {
		t.Error(text(r), moves, "moves")
	}
}

func TestWrongOptions(t *testing.T) {
	w := newWorld(t, nil)
	w.in(0, 1)
	w.commit(1, "")
	for name, tc := range map[string]struct {
		change func(*audit.Options)
		option string
	}{
		"no group":           {func(o *audit.Options) { o.Group = "" }, "--group"},
		"no output":          {func(o *audit.Options) { o.Outputs = nil }, "--output"},
		"unknown group":      {func(o *audit.Options) { o.Group = "nobody" }, "--group"},
		"unknown output":     {func(o *audit.Options) { o.Outputs = []string{"outt"} }, "--output"},
		"unknown input":      {func(o *audit.Options) { o.Inputs = []string{"inn"} }, "--input"},
		"input never read":   {func(o *audit.Options) { o.Inputs, o.Outputs = []string{"out"}, []string{"in"} }, "--input"},
		"output is an input": {func(o *audit.Options) { o.Outputs = []string{"in", "out"} }, "--output"},
		"order":              {func(o *audit.Options) { o.Order = "time" }, "--order"},
		"memory":             {func(o *audit.Options) { o.Memory = 1000 }, "--memory"},
		"from before 1970":   {func(o *audit.Options) { o.From = time.UnixMilli(-1) }, "--from"},
		"itself also":        {func(o *audit.Options) { o.AlsoGroups = []string{group} }, "--also-group"},
		"until before from":  {func(o *audit.Options) { o.From, o.Until = time.Now(), began }, "--until"},
		"temp-dir":           {func(o *audit.Options) { o.TempDir = "/nowhere" }, "--temp-dir"},
	} {
		t.Run(name, func(t *testing.T) {
			o := w.options()
			tc.change(&o)
			_, err := audit.Run(t.Context(), o)
			if bad, ok := errors.AsType[*audit.OptionError](err); !ok || bad.Option != tc.option {
				t.Errorf("want an error about %s, got %v", tc.option, err)
			} else {
				t.Log(bad)
			}
		})
	}
}

func TestParseExpect(t *testing.T) {
	for text, want := range map[string]string{"1": "1", "2..": "2..", "0..": "0..", "0..3": "0..3", "4..4": "4",
		"": "", "..": "", "-1": "", "0": "", "3..1": "", "1...2": "", "x": "", "9999999999": ""} {
		e, err := audit.ParseExpect(text)
		if got := e.String(); err == nil && got != want || (err != nil) != (want == "") {
			t.Errorf("%q: %s, %v; want %s", text, got, err, want)
		}
	}
}
