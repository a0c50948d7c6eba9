package audit_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/audit"
	"github.com/ackmark/ackmark/internal/donemeta"
)

const group = "g"

// began is when the first input was written; one a second follows.
var began = time.Now().Add(-time.Hour).Truncate(time.Second)

// world is a cluster with the topics in (2 partitions) and out (2 partitions).
type world struct {
	testing.TB
	cluster *kfake.Cluster
	client  *kgo.Client
	admin   *kadm.Client
	id      kadm.TopicID
}

func newWorld(t testing.TB, configs map[string]string) *world {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(2))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	for _, topic := range []string{"in", "out"} {
		if err := cluster.CreateTopic(topic, 2, configs); err != nil {
			t.Fatal(err)
		}
	}
	w := &world{TB: t, cluster: cluster}
	w.client = w.newClient()
	w.admin = kadm.NewClient(w.client)
	topics, err := w.admin.ListTopics(t.Context(), "in")
	w.must(err)
	w.id = topics["in"].ID
	return w
}

func (w *world) newClient(opts ...kgo.Opt) *kgo.Client {
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(w.cluster.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	w.must(err)
	w.Cleanup(cl.Close)
	return cl
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) produce(records ...*kgo.Record) {
	w.Helper()
	w.must(w.client.ProduceSync(w.Context(), records...).FirstErr())
}

// in writes n inputs to a partition.
func (w *world) in(partition int32, n int) {
	w.Helper()
	var all []*kgo.Record
	for i := range n {
		all = append(all, &kgo.Record{Topic: "in", Partition: partition, Value: []byte("x"), Timestamp: began.Add(time.Duration(i) * time.Second)})
	}
	w.produce(all...)
}

// made is an output of the input at this offset of partition 0.
func (w *world) made(offset int64, output, key string) *kgo.Record {
	return &kgo.Record{Topic: "out", Key: []byte(key), Timestamp: began.Add(time.Duration(offset) * time.Second), Headers: []kgo.RecordHeader{
		sourceHeader("in/0/%d/%s/%s", offset, output, base64.RawURLEncoding.EncodeToString(w.id[:])),
	}}
}

func sourceHeader(format string, args ...any) kgo.RecordHeader {
	return kgo.RecordHeader{Key: audit.HeaderSource, Value: fmt.Appendf(nil, format, args...)}
}

// out writes output 0 of these inputs, in this order, all of one key.
func (w *world) out(offsets ...int64) {
	w.Helper()
	var all []*kgo.Record
	for _, offset := range offsets {
		all = append(all, w.made(offset, "0", "k"))
	}
	w.produce(all...)
}

func (w *world) commit(offset int64, metadata string) {
	w.Helper()
	var all kadm.Offsets
	all.Add(kadm.Offset{Topic: "in", Partition: 0, At: offset, LeaderEpoch: -1, Metadata: metadata})
	w.must(w.admin.CommitAllOffsets(w.Context(), group, all))
}

func (w *world) options() audit.Options {
	return audit.Options{Client: w.newClient(), Group: group, Outputs: []string{"out"}, TempDir: w.TempDir()}
}

func (w *world) run(o audit.Options) *audit.Report {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
	defer cancel()
	r, err := audit.Run(ctx, o)
	w.must(err)
	return r
}

func upTo(n int64) (all []int64) {
	for i := range n {
		all = append(all, i)
	}
	return all
}

// text is what was found, short.
func text(r *audit.Report) string {
	c := r.Counts
	all := []string{fmt.Sprintf("%s: %d inputs, %d done", r.Verdict, c.Inputs, c.Done)}
	for _, n := range []struct {
		name  string
		count int64
	}{
		{"lost", c.Lost}, {"undecided", c.Undecided}, {"duplicated", c.Duplicated}, {"reordered", c.Reordered}, {"in flight", c.InFlight},
		{"filtered", c.Filtered}, {"dead", c.DeadLettered}, {"surplus", c.Surplus}, {"no headers", r.Unknown.NoHeaders}, {"malformed", r.Unknown.Malformed},
		{"other topic", r.Unknown.OtherTopic}, {"other id", r.Unknown.OtherTopicID}, {"other group", r.Unknown.OtherGroup}, {"gone", r.Unknown.Gone}, {"outside", r.Unknown.Outside}, {"newer", r.Unknown.Newer},
	} {
		if n.count > 0 {
			all = append(all, fmt.Sprintf("%d %s", n.count, n.name))
		}
	}
	return strings.Join(all, ", ")
}

func offsets(r *audit.Report, kind audit.Kind) (all []int64) {
	for _, f := range r.First[kind] {
		all = append(all, f.Offset)
	}
	return all
}

func TestVerdicts(t *testing.T) {
	one := func(least, most int32) *audit.Expect { return &audit.Expect{Min: least, Max: most} }
	for name, tc := range map[string]struct {
		do     func(*world)
		expect *audit.Expect
		order  audit.Order
		want   string
	}{
		"nothing lost":                {do: func(w *world) { w.out(upTo(10)...) }, want: "clean: 10 inputs, 10 done"},
		"one lost":                    {do: func(w *world) { w.out(0, 1, 2, 4, 5, 6, 7, 8, 9) }, want: "lost: 10 inputs, 10 done, 1 lost"},
		"the first and the last lost": {do: func(w *world) { w.out(1, 2, 3, 4, 5, 6, 7, 8) }, want: "lost: 10 inputs, 10 done, 2 lost"},
		"duplicates":                  {do: func(w *world) { w.out(upTo(10)...); w.out(3, 4, 3) }, want: "clean: 10 inputs, 10 done, 3 duplicated"},
		"reordered":                   {do: func(w *world) { w.out(0, 1, 3, 2, 4, 5, 6, 7, 8, 9) }, want: "clean: 10 inputs, 10 done, 1 reordered"},
		"order is not asked for":      {do: func(w *world) { w.out(0, 1, 3, 2, 4, 5, 6, 7, 8, 9) }, order: audit.OrderNone, want: "clean: 10 inputs, 10 done"},
		"other keys may pass": {do: func(w *world) {
			w.out(0, 1, 3)
			w.produce(w.made(2, "0", "another"))
			w.out(4, 5, 6, 7, 8, 9)
		}, want: "clean: 10 inputs, 10 done"},
		"but not where the partition has an order": {do: func(w *world) {
			w.out(0, 1, 3)
			w.produce(w.made(2, "0", "another"))
			w.out(4, 5, 6, 7, 8, 9)
		}, order: audit.OrderPartition, want: "clean: 10 inputs, 10 done, 1 reordered"},
		"a filter may drop": {do: func(w *world) { w.out(upTo(9)...) }, expect: one(0, 1), want: "clean: 10 inputs, 10 done, 1 filtered"},
		"the second of two outputs is lost": {do: func(w *world) {
			w.out(upTo(10)...)
			for _, i := range upTo(9) {
				w.produce(w.made(i, "1", "x"))
			}
		}, expect: one(2, 2), want: "lost: 10 inputs, 10 done, 1 lost"},
		"a hole is a loss, also where fewer are allowed": {do: func(w *world) { w.out(upTo(10)...); w.produce(w.made(4, "2", "k2")) },
			expect: one(0, 5), want: "lost: 10 inputs, 10 done, 1 lost"},
		"more than expected": {do: func(w *world) { w.out(upTo(10)...); w.produce(w.made(4, "1", "k2")) },
			expect: one(1, 1), want: "clean: 10 inputs, 10 done, 1 surplus"},
		"a dead letter is no loss": {do: func(w *world) { w.out(upTo(9)...); w.produce(w.made(9, audit.DeadLetter, "k")) },
			want: "clean: 10 inputs, 10 done, 1 dead"},
		"in flight": {do: func(w *world) { w.out(upTo(7)...); w.commit(6, "") }, want: "clean: 10 inputs, 6 done, 4 in flight"},
		"in flight, with a done-set": {do: func(w *world) {
			w.out(0, 1, 2, 3, 4, 5, 8)
			w.commit(6, w.doneSet(6, donemeta.Run{First: 8, Last: 8}))
		}, want: "clean: 10 inputs, 7 done, 3 in flight"},
		"lost in the done-set": {do: func(w *world) {
			w.out(0, 1, 2, 3, 4, 5, 8)
			w.commit(6, w.doneSet(6, donemeta.Run{First: 8, Last: 9}))
		}, want: "lost: 10 inputs, 8 done, 1 lost, 2 in flight"},
		"the done-set of another commit": {do: func(w *world) {
			w.out(0, 1, 2, 3, 4, 5)
			w.commit(6, w.doneSet(5, donemeta.Run{First: 8, Last: 9}))
		}, want: "clean: 10 inputs, 6 done, 4 in flight"},
		"nothing is done": {do: func(w *world) { w.out(upTo(3)...); w.commit(0, "") }, want: "undecided: 10 inputs, 0 done, 10 in flight"},
		"foreign records": {do: func(w *world) {
			other, id, bad, none := w.made(1, "0", "k"), w.made(2, "0", "k"), w.made(3, "0", "k"), w.made(4, "0", "k")
			other.Headers[0] = sourceHeader("elsewhere/0/1/0")
			id.Headers[0] = sourceHeader("in/0/2/0/%s", strings.Repeat("A", 22))
			bad.Headers[0] = sourceHeader("in/0/-1/0")
			none.Headers = nil
			w.produce(other, id, bad, none)
			w.out(upTo(10)...)
		}, want: "clean: 10 inputs, 10 done, 1 no headers, 1 malformed, 1 other topic, 1 other id"},
		"a foreign record is no output": {do: func(w *world) {
			id := w.made(2, "0", "k")
			id.Headers[0] = sourceHeader("in/0/2/0/%s", strings.Repeat("A", 22))
			w.out(0, 1)
			w.produce(id)
			w.out(3, 4, 5, 6, 7, 8, 9)
		}, want: "lost: 10 inputs, 10 done, 1 lost, 1 other id"},
		"the last of several headers counts": {do: func(w *world) {
			twice := w.made(9, "0", "k")
			twice.Headers = append(w.made(1, "0", "k").Headers, twice.Headers...)
			w.out(upTo(9)...)
			w.produce(twice)
		}, want: "clean: 10 inputs, 10 done"},
		"no headers anywhere": {do: func(w *world) {
			for range 10 {
				w.produce(&kgo.Record{Topic: "out", Value: []byte("x")})
			}
		}, want: "undecided: 10 inputs, 10 done, 10 undecided, 10 no headers"},
		"inputs deleted by retention": {do: func(w *world) {
			w.out(upTo(10)...)
			w.must(w.cluster.DeleteRecords("in", 0, 4))
		}, want: "clean: 6 inputs, 6 done, 4 gone"},
		"outputs deleted by retention": {do: func(w *world) {
			w.out(0, 1, 2, 3, 4, 5, 6, 8, 9)
			w.must(w.cluster.DeleteRecords("out", 0, 4))
		}, want: "undecided: 10 inputs, 10 done, 5 undecided"},
		"deleted, but nothing is missing": {do: func(w *world) {
			w.out(0, 1, 2, 3)
			w.out(upTo(10)...)
			w.must(w.cluster.DeleteRecords("out", 0, 4))
		}, want: "clean: 10 inputs, 10 done"},
		"in a partition that is not said to have had any": {do: func(w *world) {
			elsewhere := w.made(9, "0", "k")
			elsewhere.Partition = 1
			w.produce(elsewhere)
			w.out(upTo(9)...)
			w.must(w.cluster.DeleteRecords("out", 1, 1))
		}, want: "undecided: 10 inputs, 10 done, 1 undecided"},
		"an output of an input that came later": {do: func(w *world) { w.out(upTo(11)...) }, want: "clean: 10 inputs, 10 done, 1 newer"},
		"all outputs deleted": {do: func(w *world) {
			w.out(upTo(10)...)
			w.must(w.cluster.DeleteRecords("out", 0, 10))
		}, want: "undecided: 10 inputs, 10 done, 10 undecided"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			w.in(0, 10)
			w.commit(10, "")
			tc.do(w)
			o := w.options()
			o.Expect, o.Order = tc.expect, tc.order
			if got := text(w.run(o)); got != tc.want {
				t.Errorf("want %s\n got %s", tc.want, got)
			}
		})
	}
}

// Clocks that the user vouches for decide more.
func TestTrueClocks(t *testing.T) {
	aged := func(w *world) { // one input each ten minutes; 0 to 3 have outputs that are deleted, those of 4 and 9 never were
		var inputs, outputs []*kgo.Record
		for i := range int64(10) {
			at := began.Add(time.Duration(i) * 10 * time.Minute)
			inputs = append(inputs, &kgo.Record{Topic: "in", Timestamp: at})
			if made := w.made(i, "0", "k"); i != 4 && i != 9 {
				made.Timestamp = at
				outputs = append(outputs, made)
			}
		}
		w.produce(inputs...)
		w.produce(outputs...)
		w.commit(10, "")
	}
	for name, tc := range map[string]struct {
		change  func(*audit.Options)
		deleted int64
		want    string
	}{
		"not trusted": {deleted: 4, want: "undecided: 10 inputs, 10 done, 6 undecided"},
		"trusted": {deleted: 4, change: func(o *audit.Options) { o.TrustClocks = true }, // the first output left is of input 5
			want: "lost: 10 inputs, 10 done, 1 lost, 5 undecided"},
		"trusted, and from behind what is deleted": {deleted: 4, change: func(o *audit.Options) { o.TrustClocks, o.From = true, began.Add(65*time.Minute) },
			want: "lost: 3 inputs, 3 done, 1 lost, 1 outside"},
		"not trusted, from there": {deleted: 4, change: func(o *audit.Options) { o.From = began.Add(65 * time.Minute) },
			want: "undecided: 3 inputs, 3 done, 1 undecided, 2 outside"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			aged(w)
			w.must(w.cluster.DeleteRecords("out", 0, tc.deleted))
			o := w.options()
			if tc.change != nil {
				tc.change(&o)
			}
			if r := w.run(o); text(r) != tc.want || (r.From != nil) != (o.TrustClocks && r.Counts.Undecided > 0) {
				t.Errorf("want %s\n got %s %v", tc.want, text(r), r.From)
			}
		})
	}
}

// A producer with a clock of its own writes outputs dated long before their inputs: --from must not
// leave them out.
func TestFromReadsOutputsOfAnyTime(t *testing.T) {
	w := newWorld(t, nil)
	w.in(0, 3)
	w.commit(3, "")
	for _, i := range upTo(3) {
		made := w.made(i, "0", "k")
		made.Timestamp = time.UnixMilli(1)
		w.produce(made)
	}
	o := w.options()
	o.From = began
	if got, want := text(w.run(o)), "clean: 3 inputs, 3 done"; got != want {
		t.Errorf("want %s\n got %s", want, got)
	}
}

// The commit of another log says nothing about this one, and what was deleted before it was done is
// not clean.
func TestCommitsThatDoNotFit(t *testing.T) {
	w := newWorld(t, nil)
	w.in(0, 5)
	w.commit(9, "")
	w.out(0, 1, 2)
	if got, want := text(w.run(w.options())), "undecided: 5 inputs, 5 done, 2 undecided"; got != want {
		t.Errorf("want %s\n got %s", want, got)
	}
	w.commit(2, "")
	w.must(w.cluster.DeleteRecords("in", 0, 3))
	w.in(1, 1)
	var all kadm.Offsets
	all.Add(kadm.Offset{Topic: "in", Partition: 1, At: 1, LeaderEpoch: -1})
	w.must(w.admin.CommitAllOffsets(w.Context(), group, all))
	made := w.made(0, "0", "k")
	made.Headers[0] = sourceHeader("in/1/0/0")
	w.produce(made)
	if r := w.run(w.options()); r.Verdict != audit.VerdictUndecided || r.Counts.Undecided > 0 || r.Counts.Done != 1 {
		t.Error(text(r), r.Notes)
	}
}

func (w *world) doneSet(base int64, runs ...donemeta.Run) string {
	text, kept := donemeta.Append(nil, donemeta.Binding{TopicID: w.id, Base: base, LeaderEpoch: -1}, runs)
	if kept != len(runs) {
		w.Fatal("the done-set does not fit")
	}
	return string(text)
}
