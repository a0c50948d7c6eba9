package dlq

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/letters"
	"github.com/ackmark/ackmark/internal/audit"
	"github.com/ackmark/ackmark/internal/devbroker"
	"github.com/ackmark/ackmark/pipeline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a broker with the topics dead, in and other.
type world struct {
	*testing.T
	broker *devbroker.Broker
	client *kgo.Client
	opts   []kgo.Opt
}

func newWorld(t *testing.T) *world {
	t.Helper()
	broker, err := devbroker.Start(devbroker.Config{Topics: map[string]int{"dead": 2, "in": 3, "other": 1}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	w := &world{T: t, broker: broker, opts: []kgo.Opt{kgo.SeedBrokers(broker.Addrs()...)}}
	w.client, err = kgo.NewClient(append(w.opts, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchMaxBytes(2<<20))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.client.Close)
	return w
}

// letter is one of the topic in, from partition offset%3.
func letter(partition int32, offset int, value string, more ...string) *kgo.Record {
	rec := &kgo.Record{Topic: "dead", Partition: partition, Key: []byte("key"), Value: []byte(value)}
	pairs := append([]string{pipeline.HeaderTopic, "in", pipeline.HeaderPartition, strconv.Itoa(offset % 3), pipeline.HeaderOffset, strconv.Itoa(offset)}, more...)
	for i := 0; i < len(pairs); i += 2 {
		rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: pairs[i], Value: []byte(pairs[i+1])})
	}
	return rec
}

func (w *world) write(records ...*kgo.Record) {
	w.Helper()
	if err := w.client.ProduceSync(w.Context(), records...).FirstErr(); err != nil {
		w.Fatal(err)
	}
}

func (w *world) open() *Topic {
	w.Helper()
	t, err := Open(w.Context(), w.client, "dead", GroupOf("dead"))
	if err != nil {
		w.Fatal(err)
	}
	return t
}

func (w *world) job(rule letters.Rule) (*Job, *Plan) {
	w.Helper()
	rule.Topic = "dead"
	if rule.MaxRounds == 0 {
		rule.MaxRounds = 3
	}
	t := w.open()
	plan, err := MakePlan(w.Context(), t, &rule, nil)
	if err != nil {
		w.Fatal(err)
	}
	return &Job{Topic: t, Rule: &rule, Options: slices.Clone(w.opts)}, plan
}

// run does what a rule says, and counts again.
func (w *world) run(rule letters.Rule) *Job {
	w.Helper()
	job, plan := w.job(rule)
	if err := job.Run(w.Context(), plan); err != nil {
		w.Fatal(err)
	}
	if left, err := job.Recount(w.Context()); err != nil || left != 0 || job.Finished.Load() != plan.Chosen {
		w.Fatalf("%d of %d finished, %d left, %v", job.Finished.Load(), plan.Chosen, left, err)
	}
	return job
}

// values are those of a topic's committed records, partition by partition: "0:a 0:b 1:c".
func (w *world) values(topic string) string {
	w.Helper()
	t, err := Open(w.Context(), w.client, topic, "nobody")
	if err != nil {
		w.Fatal(err)
	}
	var all []string
	for i := range t.Partitions {
		if err := t.Partition(w.Context(), i, true, func(l *letters.Letter, _ bool) error {
			all = append(all, fmt.Sprintf("%d:%.20s", i, l.Value))
			return nil
		}); err != nil {
			w.Fatal(err)
		}
	}
	return strings.Join(all, " ")
}

// waiting are the letters that wait.
func (w *world) waiting() string {
	w.Helper()
	t := w.open()
	var all []string
	for i := range t.Partitions {
		if err := t.Partition(w.Context(), i, false, func(l *letters.Letter, done bool) error {
			if !done {
				all = append(all, string(l.Value))
			}
			return nil
		}); err != nil {
			w.Fatal(err)
		}
	}
	return strings.Join(all, " ")
}

func (w *world) is(what, got, want string) {
	w.Helper()
	if got != want {
		w.Errorf("%s: %q, want %q", what, got, want)
	}
}

// What is chosen goes back to the partition it came from, in its order; the rest waits for a later
// choice; an audit finds each letter once.
func TestChosenLettersGoBackOnce(t *testing.T) {
	w := newWorld(t)
	for i := range 6 {
		w.write(letter(int32(i%2), i/2, fmt.Sprint("odd-even"[4*(i%2):4*(i%2)+3], i), pipeline.HeaderError, fmt.Sprint("error ", i%3)))
	}
	w.run(letters.Rule{Filter: letters.Filter{Error: "error 1"}})
	w.is("in", w.values("in"), "0:eve1 2:odd4")
	w.is("waiting", w.waiting(), "odd0 odd2 eve3 eve5")
	w.run(letters.Rule{Filter: letters.Filter{Offsets: letters.Offsets([][2]int64{{0, 1}, {0, 1}})}, Discard: true})
	w.is("waiting", w.waiting(), "odd0 eve3 eve5")
	w.run(letters.Rule{To: "other"})
	w.is("waiting", w.waiting(), "")
	w.is("other", w.values("other"), "0:odd0 0:eve3 0:eve5")
	w.run(letters.Rule{To: "other"})
	w.is("other", w.values("other"), "0:odd0 0:eve3 0:eve5")

	expect, err := audit.ParseExpect("0..1")
	if err != nil {
		t.Fatal(err)
	}
	report, err := audit.Run(t.Context(), audit.Options{Client: w.client, Group: GroupOf("dead"), Inputs: []string{"dead"}, Outputs: []string{"in", "other"}, Expect: &expect})
	if err != nil {
		t.Fatal(err)
	}
	if c := report.Counts; report.Verdict != audit.VerdictClean || c.Done != 6 || c.Filtered != 1 || c.Duplicated+c.Surplus+c.InFlight != 0 {
		t.Errorf("%s %+v", report.Verdict, c)
	}
}

// A letter comes round until the bound, though the pipeline that rejects it again knows only its
// own count.
func TestRoundsAreBounded(t *testing.T) {
	w := newWorld(t)
	w.write(letter(0, 0, "a", pipeline.HeaderCount, "1"))
	for round := int64(1); ; round++ {
		job, plan := w.job(letters.Rule{MaxRounds: 2})
		if plan.Chosen == 0 {
			if round != 3 || plan.Waiting[letters.TooOften] != 1 {
				t.Errorf("round %d: %+v", round, plan)
			}
			break
		}
		if err := job.Run(t.Context(), plan); err != nil {
			t.Fatal(err)
		}
		w.write(letter(0, 0, "a", pipeline.HeaderCount, strconv.FormatInt(round+1, 10))) // rejected again
	}
	w.is("in", w.values("in"), "0:a 0:a")
}

// One that the target refuses is found and named; those before it are there, those behind it wait.
func TestARefusedLetterIsNamed(t *testing.T) {
	w := newWorld(t)
	for i := range 5 {
		w.write(letter(0, 0, fmt.Sprint(i)))
	}
	w.write(letter(0, 0, "5"+strings.Repeat("x", 300_000)), letter(0, 0, "6"))
	admin := kadm.NewClient(w.client)
	limit := "100000"
	if _, err := admin.AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "max.message.bytes", Value: &limit}}, "in"); err != nil {
		t.Fatal(err)
	}
	job, plan := w.job(letters.Rule{})
	job.Options = append(job.Options, kgo.ProducerBatchCompression(kgo.NoCompression()))
	err := job.Run(t.Context(), plan)
	refused, ok := errors.AsType[*RefusedError](err)
	if !ok || refused.Offset != 5 || job.Finished.Load() != 5 {
		t.Fatalf("%d finished, %v", job.Finished.Load(), err)
	}
	w.is("in", w.values("in"), "0:0 0:1 0:2 0:3 0:4")
	w.run(letters.Rule{Filter: letters.Filter{Offsets: map[int32]map[int64]bool{0: {5: true}}}, Discard: true})
	w.run(letters.Rule{})
	w.is("in", w.values("in"), "0:0 0:1 0:2 0:3 0:4 0:6")
}

// A huge letter goes back where the target takes it.
func TestAHugeLetterGoesBack(t *testing.T) {
	w := newWorld(t)
	w.write(letter(0, 0, "a"), letter(0, 0, strings.Repeat("x", 1_000_000)), letter(0, 0, "b"))
	w.run(letters.Rule{})
	w.is("in", w.values("in"), "0:a 0:xxxxxxxxxxxxxxxxxxxx 0:b")
}

// The position of one who began before is not moved any more.
func TestASecondRunFencesTheFirst(t *testing.T) {
	w := newWorld(t)
	for i := range 4 {
		w.write(letter(0, 0, fmt.Sprint(i)))
	}
	first, plan := w.job(letters.Rule{})
	var err error
	if first.writer, err = newWriter(t.Context(), first.Topic, first.Options); err != nil {
		t.Fatal(err)
	}
	defer first.writer.close()
	w.run(letters.Rule{Filter: letters.Filter{Offsets: map[int32]map[int64]bool{0: {1: true}}}})
	first.began, first.plan, first.hash = time.Now(), plan, map[string]kgo.TopicPartitioner{}
	for _, discard := range []bool{false, true} {
		first.Rule.Discard = discard
		if err := first.onePartition(t.Context(), 0); !errors.Is(err, ErrFenced) {
			t.Errorf("discard %t: %v", discard, err)
		}
	}
	w.is("in", w.values("in"), "0:1")
	w.is("waiting", w.waiting(), "0 2 3")
}

// A process that dies between the letters and the commit leaves neither: the next one writes them,
// and only it.
func TestADeathInsideATransaction(t *testing.T) {
	w := newWorld(t)
	w.write(letter(0, 0, "a"), letter(0, 0, "b"))
	dead, _ := w.job(letters.Rule{})
	writer, err := newWriter(t.Context(), dead.Topic, dead.Options)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.close()
	if err := writer.client.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	w.must(writer.client.ProduceSync(t.Context(), &kgo.Record{Topic: "in", Value: []byte("a")}).FirstErr())
	next := dead.Topic.Partitions[0].Position.Clone()
	next.Finish(0, 0)
	w.must(writer.commitOffsets(t.Context(), map[int32]letters.Position{0: next}))
	// and dies
	w.run(letters.Rule{})
	w.is("in", w.values("in"), "0:a 0:b")
}

// One that dies when its letters are visible has its position with them.
func TestADeathBehindTheLetters(t *testing.T) {
	w := newWorld(t)
	w.write(letter(0, 0, "a"), letter(0, 0, "b"))
	job, plan := w.job(letters.Rule{})
	w.broker.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.AddOffsetsToTxn}, Err: kerr.InvalidRequest, Count: 1})
	if err := job.Run(t.Context(), plan); !errors.Is(err, kerr.InvalidRequest) {
		t.Fatal(err)
	}
	w.is("in", w.values("in"), "")
	w.run(letters.Rule{})
	w.is("in", w.values("in"), "0:a 0:b")
}

// What another run gave back after the plan is not given back again.
func TestAnotherRunBetweenPlanAndRun(t *testing.T) {
	w := newWorld(t)
	w.write(letter(0, 0, "a"), letter(0, 0, "b"), letter(1, 0, "c"))
	late, plan := w.job(letters.Rule{})
	w.run(letters.Rule{Filter: letters.Filter{Offsets: letters.Offsets([][2]int64{{0, 1}, {1, 0}})}})
	w.must(late.Run(t.Context(), plan))
	w.is("in", w.values("in"), "0:b 0:c 0:a")
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// An answer without the position is no position: it is asked for again, and where that does not
// help nothing is done. Else every letter would wait, and go back twice.
func TestAPositionThatIsNotReadIsNotNone(t *testing.T) {
	w := newWorld(t)
	w.write(letter(0, 0, "a"), letter(0, 0, "b"))
	w.run(letters.Rule{Filter: letters.Filter{Offsets: letters.Offsets([][2]int64{{0, 0}})}})
	fail := func(code *kerr.Error, times int) *kfake.FaultHandle {
		return w.broker.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetFetch}, Topic: "dead", Err: code, Count: times})
	}
	late := fail(kerr.UnstableOffsetCommit, 3)
	w.is("waiting", w.waiting(), "b")
	if late.Hits() != 3 {
		t.Errorf("it was asked %d times in vain", late.Hits())
	}
	fail(kerr.UnknownServerError, -1)
	if _, err := Open(t.Context(), w.client, "dead", GroupOf("dead")); !errors.Is(err, kerr.UnknownServerError) {
		t.Errorf("%v", err)
	}
}

// A position that another tool wrote into is refused, and nothing is written.
func TestAForeignPositionIsRefused(t *testing.T) {
	w := newWorld(t)
	w.write(letter(0, 0, "a"), letter(0, 0, "b"))
	commit := func(at int64, metadata string) {
		var offsets kadm.Offsets
		offsets.Add(kadm.Offset{Topic: "dead", Partition: 0, At: at, LeaderEpoch: -1, Metadata: metadata})
		w.must(kadm.NewClient(w.client).CommitAllOffsets(t.Context(), GroupOf("dead"), offsets))
	}
	for want, c := range map[string]struct {
		at       int64
		metadata string
	}{"not what this command writes": {1, "x"}, "beyond the end": {9, ""}} {
		commit(c.at, c.metadata)
		if _, err := Open(t.Context(), w.client, "dead", GroupOf("dead")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%d %q: %v", c.at, c.metadata, err)
		}
	}
	commit(1, "") // kafka-consumer-groups.sh --reset-offsets
	w.is("waiting", w.waiting(), "b")
}

// Letters that came after the plan wait; so do those that a run with an earlier plan leaves.
func TestAPlanHasAnEnd(t *testing.T) {
	w := newWorld(t)
	w.write(letter(0, 0, "a"), letter(1, 0, "b"))
	job, plan := w.job(letters.Rule{})
	w.write(letter(0, 0, "c"))
	w.must(job.Run(t.Context(), plan))
	w.is("waiting", w.waiting(), "c")
	w.is("below", plan.Below(), "0:1,1:1")
}

// An interruption is heard between two transactions; the same command goes on.
func TestInterruptedAndGoneOnWith(t *testing.T) {
	w := newWorld(t)
	for i := range 6 {
		w.write(letter(0, 0, fmt.Sprint(i)))
	}
	job, plan := w.job(letters.Rule{})
	job.Rate = 1 // the first at once, the second a second later
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- job.Run(ctx, plan) }()
	for job.Finished.Load() == 0 {
		select {
		case err := <-ended:
			t.Fatal(err)
		default:
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if n := job.Finished.Load(); n != 1 {
		t.Errorf("%d finished", n)
	}
	w.run(letters.Rule{})
	w.is("in", w.values("in"), "0:0 0:1 0:2 0:3 0:4 0:5")
}

// Letters that cannot go anywhere are counted, and a target that is missing is named before
// anything is written.
func TestLettersThatCannotGoBack(t *testing.T) {
	w := newWorld(t)
	foreign := letter(0, 0, "foreign")
	foreign.Headers = nil
	loop := letter(0, 0, "loop")
	loop.Headers[0].Value = []byte("dead")
	tombstone := letter(0, 0, "")
	tombstone.Value = nil
	w.write(foreign, loop, tombstone)
	_, plan := w.job(letters.Rule{})
	if plan.Chosen != 1 || plan.Nulls != 1 || plan.Waiting[letters.Unnamed] != 1 || plan.Waiting[letters.Loop] != 1 {
		t.Errorf("%+v", plan)
	}
	gone := letter(0, 0, "x")
	gone.Headers[0].Value = []byte("go\x1bne")
	w.write(gone)
	rule := letters.Rule{Topic: "dead", MaxRounds: 1}
	if _, err := MakePlan(t.Context(), w.open(), &rule, nil); err == nil || !strings.Contains(err.Error(), `1 of the letters are from a topic that does not exist: "go\x1bne"`) {
		t.Errorf("%v", err)
	}
	closed, err := kgo.NewClient(kgo.SeedBrokers("127.0.0.1:1"))
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	if _, err := describe(t.Context(), kadm.NewClient(closed), "go\x1bne"); err == nil || !strings.Contains(err.Error(), `look at topic go\x1bne: `) {
		t.Errorf("a letter's topic that cannot be looked at: %q", err)
	}
	rule.To = "nowhere"
	if _, err := MakePlan(t.Context(), w.open(), &rule, nil); err == nil {
		t.Error("a target that does not exist is taken")
	} else if missing, ok := errors.AsType[*MissingTopicError](err); !ok || !slices.Contains(missing.Known, "in") {
		t.Errorf("%v", err)
	}
	w.run(letters.Rule{To: "other"})
	w.is("other", w.values("other"), "0:foreign 0:loop 0: 0:x")
}

// The partition is the letter's own, or the key's.
func TestThePartition(t *testing.T) {
	w := newWorld(t)
	hash := kgo.StickyKeyPartitioner(nil).ForTopic("in").Partition(&kgo.Record{Key: []byte("key")}, 3)
	other := (hash + 1) % 3
	w.write(letter(0, other, "own"), letter(0, other, "far"))
	far := letter(0, other, "far")
	far.Headers[1].Value = []byte("99") // there were more once
	w.write(far)
	job, plan := w.job(letters.Rule{})
	w.must(job.Run(t.Context(), plan))
	want := []string{fmt.Sprintf("%d:own", other), fmt.Sprintf("%d:far", other), fmt.Sprintf("%d:far", hash)}
	got := strings.Fields(w.values("in"))
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	w.write(letter(0, other, "bykey"))
	job, plan = w.job(letters.Rule{})
	job.ByKey = true
	w.must(job.Run(t.Context(), plan))
	if want := fmt.Sprintf("%d:bykey", hash); !strings.Contains(w.values("in"), want) {
		t.Errorf("%q has no %q", w.values("in"), want)
	}
}

// More holes than a position can hold: it stops at the letter that does not fit, and says which to
// take first.
func TestAFullPosition(t *testing.T) {
	w := newWorld(t)
	var all []*kgo.Record
	var chosen [][2]int64
	const apart, n = 20, 2000
	for i := range apart * n {
		all = append(all, letter(0, 0, "x"))
		if i%apart == apart-1 {
			chosen = append(chosen, [2]int64{0, int64(i)})
		}
	}
	w.write(all...)
	by := map[int64]bool{}
	for _, c := range chosen {
		by[c[1]] = true
	}
	job, plan := w.job(letters.Rule{Discard: true, Filter: letters.Filter{Offsets: letters.Offsets(chosen)}})
	err := job.Run(t.Context(), plan)
	full, ok := errors.AsType[*FullError](err)
	if !ok || full.Mark != 0 || !by[full.Offset] || job.Finished.Load() == 0 || job.Finished.Load() >= n {
		t.Fatalf("%d finished, %v", job.Finished.Load(), err)
	}
	w.run(letters.Rule{Discard: true}) // the oldest, and all others
	w.is("waiting", w.waiting(), "")
}
