package cli

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/devbroker"
	"github.com/ackmark/ackmark/internal/donemeta"
	"github.com/ackmark/ackmark/internal/lag"
)

func lagClient(t *testing.T, topics map[string]int) *kgo.Client {
	t.Helper()
	broker, err := devbroker.Start(devbroker.Config{Topics: topics, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	client, err := kgo.NewClient(kgo.SeedBrokers(broker.Addrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func fillTopic(t *testing.T, client *kgo.Client, topic string, partition int32, n int) {
	t.Helper()
	for range n {
		if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Partition: partition, Value: []byte("x")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

// reportOf is what one reading says, as a table.
func reportOf(t *testing.T, client *kgo.Client, group string, only ...string) (*lagReport, string) {
	t.Helper()
	r, err := readLag(t.Context(), client, group, only)
	if err != nil {
		t.Fatal(err)
	}
	var w lagWindow
	w.add(r, time.Now(), 0)
	var text strings.Builder
	report := w.report(group)
	printLag(&text, report, true)
	return report, text.String()
}

// What there can be of a group: each says what it is.
func TestLagOfEveryKindOfPartition(t *testing.T) {
	client := lagClient(t, map[string]int{"in": 5, "gone": 1})
	admin := kadm.NewClient(client)
	for partition, n := range []int{10, 10, 10, 0, 10} {
		fillTopic(t, client, "in", int32(partition), n)
	}
	topics, err := admin.ListTopics(t.Context(), "in")
	if err != nil {
		t.Fatal(err)
	}
	done, _ := donemeta.Append(nil, donemeta.Binding{TopicID: topics["in"].ID, Base: 4, LeaderEpoch: -1}, []donemeta.Run{{First: 6, Last: 8}})
	const group = "all of \x1b[31m / ä \u202e #?&=\\ \"'"
	var offsets kadm.Offsets
	for partition, at := range []int64{10, 2, 4} {
		offsets.Add(kadm.Offset{Topic: "in", Partition: int32(partition), At: at, LeaderEpoch: -1, Metadata: map[int]string{2: string(done)}[partition]})
	}
	offsets.Add(kadm.Offset{Topic: "in", Partition: 4, At: 99, LeaderEpoch: -1})
	if err := admin.CommitAllOffsets(t.Context(), group, offsets); err != nil {
		t.Fatal(err)
	}
	var cut kadm.Offsets
	cut.Add(kadm.Offset{Topic: "in", Partition: 1, At: 5})
	if _, err := admin.DeleteRecords(t.Context(), cut); err != nil {
		t.Fatal(err)
	}
	report, text := reportOf(t, client, group)
	if len(report.Partitions) != 5 || report.Verdict != lag.Unknown || report.Lag != 8+6 {
		t.Errorf("%+v", report)
	}
	for _, want := range []string{
		`group all of \x1b[31m / ä \u202e #?&=\\ "' is unknown: lag 14, Empty, 0 members`,
		"in     0          0    ok       10         0      10   0 ", // caught up
		"in     1          8    unknown  2          5      10   0 ", "in/1: committed at 2, below the start 5: 3 offsets were deleted and nobody will read them",
		"in     2          6    unknown  4          0      10   3 ", "in/2: one reading cannot tell whether it moves", // 3 are done above
		"in     3          0    ok       -          0      0    0 ", // never committed, and nothing there
		"in     4          0    unknown  99         0      10   0 ", "in/4: committed at 99, beyond the end 10: the topic was cut or created anew",
		"the group has no members",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if _, text := reportOf(t, client, group, "out"); !strings.Contains(text, "no members and no committed offsets (of these topics)") {
		t.Error(text)
	}
}

// A group of the protocol of Kafka 4, which classic requests do not describe.
func TestLagOfANewGroup(t *testing.T) {
	client := lagClient(t, map[string]int{"in": 2})
	fillTopic(t, client, "in", 0, 3)
	fillTopic(t, client, "in", 1, 2)
	seeds := client.OptValue(kgo.SeedBrokers).([]string)
	member, err := kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.ConsumerGroup("new"), kgo.ConsumeTopics("in"), kgo.ClientID("app"), kgo.ServerSideBalancer(), kgo.Balancers(kgo.RangeBalancer()),
		kgo.DisableAutoCommit(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer member.Close()
	for n := 0; n < 5; {
		fetches := member.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		n += fetches.NumRecords()
	}
	report, text := reportOf(t, client, "new")
	if report.State != "Stable" || report.Members != 1 || report.Lag != 5 || !strings.Contains(text, "in/0: never committed") {
		t.Errorf("%s", text)
	}
	if err := member.CommitRecords(t.Context(), &kgo.Record{Topic: "in", Partition: 0, Offset: 2, LeaderEpoch: -1}); err != nil {
		t.Fatal(err)
	}
	if report, text := reportOf(t, client, "new"); report.Lag != 2 || report.Partitions[0].Verdict != lag.OK {
		t.Errorf("%s", text)
	}
}

// What kadm says of a partition that cannot be read, and of metadata that is not ours.
func TestReadingsWithProblems(t *testing.T) {
	for want, err := range map[string]error{
		"does not exist any more": kerr.UnknownTopicOrPartition, "no leader": kerr.LeaderNotAvailable, "or it does not answer": errors.New("missing from list offsets"),
		"cannot be read: KAFKA_STORAGE_ERROR": kerr.KafkaStorageError,
	} {
		r := lagOf(kadm.GroupMemberLag{Err: err, Lag: -1, Commit: kadm.Offset{At: 3, Metadata: "of another program"}}, kadm.TopicID{}, time.Now())
		if !strings.Contains(r.Problem, want) || r.Above != 0 {
			t.Errorf("%v: %+v", err, r)
		}
	}
}

// A window keeps what it needs to span its length, and forgets a partition that is not the group's
// any more.
func TestTheWindow(t *testing.T) {
	var w lagWindow
	at := time.Unix(0, 0)
	place, other := lagPlace{"in", 0}, lagPlace{"in", 1}
	for i := range 20 {
		parts := map[lagPlace]lagPart{place: {Reading: lag.Reading{At: at}}}
		if i < 10 {
			parts[other] = lagPart{Reading: lag.Reading{At: at}}
		}
		w.add(&lagReading{parts: parts}, at, 5*time.Second)
		at = at.Add(2 * time.Second)
	}
	if n := len(w.byPart[place]); n != 4 || len(w.at) != 4 || w.byPart[other] != nil {
		t.Errorf("%d readings, %d times, %v", n, len(w.at), w.byPart[other])
	}
}

// JSON and YAML have the same keys, in the same order, and no raw control characters.
func TestLagAsYAML(t *testing.T) {
	client := lagClient(t, map[string]int{"in": 1})
	report, _ := reportOf(t, client, "g\u009b\x1b")
	var text, asJSON strings.Builder
	if err := printYAML(&text, report); err != nil {
		t.Fatal(err)
	}
	if err := printable(&asJSON, report); err != nil {
		t.Fatal(err)
	}
	keys := func(s string) (all []string) {
		for line := range strings.Lines(s) {
			if key, _, ok := strings.Cut(strings.TrimLeft(line, ` -"`), ":"); ok {
				all = append(all, strings.Trim(key, `"`))
			}
		}
		return all
	}
	if a, b := keys(text.String()), keys(asJSON.String()); !slices.Equal(a, b) || !strings.HasPrefix(text.String(), "---\ngroup: \"g\\") || strings.ContainsAny(text.String()+asJSON.String(), "\u009b\x1b") {
		t.Errorf("%q, %q\n%s", a, b, &text)
	}
}

// Each verdict has the exit code that the help promises, whatever the group's name is, and says
// itself where it is no good one: cron looks at nothing else.
func TestEachVerdictHasItsExitCode(t *testing.T) {
	codes := map[lag.Verdict]int{lag.OK: ExitClean, lag.Draining: ExitClean, lag.Growing: ExitFailed, lag.Stalled: ExitFailed, lag.Unknown: ExitUsage}
	for _, v := range append(slices.Clone(lag.Verdicts), "a new one") {
		want, known := codes[v]
		if !known {
			want = ExitUsage
		}
		err := lagExit("billing\x1b", v)
		if got := exitCode(err); got != want {
			t.Errorf("%s ends with %d, want %d", v, got, want)
		}
		if err == nil {
			continue
		}
		word := string(v)
		if want == ExitUsage {
			word = string(lag.Unknown)
		}
		if text := err.Error(); !strings.Contains(text, word) || !strings.Contains(text, `billing\x1b`) {
			t.Errorf("%s says %q", v, text)
		}
	}
	if len(codes) != len(lag.Verdicts) {
		t.Errorf("%d verdicts have a code here, there are %d", len(codes), len(lag.Verdicts))
	}
}
