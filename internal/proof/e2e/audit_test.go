package e2e

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/producer"
)

// lossy says of every second input that its outputs are in Kafka, and writes none.
type lossy struct{ producer.Producer }

func (p lossy) Deliver(ctx context.Context, units []producer.Unit, r producer.Reporter) error {
	for i := range units {
		if units[i].Source.Offset%2 == 1 {
			units[i].Outputs = nil
		}
	}
	return p.Producer.Deliver(ctx, units, r)
}

// process lets a group handle the first n inputs, with an output in each topic, and leave.
func (s *scenario) process(group string, n int64, wrap func(producer.Producer) producer.Producer, outputs ...string) {
	s.Helper()
	ctx, stop := context.WithTimeout(s.Context(), settle)
	defer stop()
	var seen atomic.Int64
	err := pipeline.Run(ctx, pipeline.Config{
		Consumer:      consumer.Config{Brokers: s.kafka.Addrs(), Group: group, Topics: []string{s.input}, Protocol: protocolUnderTest, Logger: slog.New(slog.DiscardHandler)},
		Producer:      wrap(producer.Direct(producer.DirectConfig{Brokers: s.kafka.Addrs()})),
		SourceHeaders: true,
		Handler: pipeline.HandlerFunc(func(_ context.Context, m *consumer.Message) (all []producer.Record, err error) {
			if seen.Add(1) == n {
				stop() // the end finishes, delivers and commits
			}
			for _, topic := range outputs {
				all = append(all, producer.Record{Topic: topic, Key: m.Key, Value: m.Value})
			}
			return all, nil
		}),
	})
	if err != nil || seen.Load() != n {
		s.Fatalf("group %s handled %d of %d inputs: %v", group, seen.Load(), n, err)
	}
}

// auditSays runs `ackmark audit` and looks for its exit code and for lines of its report.
func (s *scenario) auditSays(code int, args []string, lines ...string) {
	s.Helper()
	out, err := exec.CommandContext(s.Context(), build(s.T, "ackmark"), append([]string{"audit", "--brokers", s.kafka.Brokers()}, args...)...).CombinedOutput()
	got := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got, err = exit.ExitCode(), nil
	}
	if err != nil || got != code {
		s.Errorf("audit %s: exit code %d, %v; want %d\n%s", strings.Join(args, " "), got, err, code, out)
	}
	for _, line := range lines {
		if !strings.Contains(string(out), line) {
			s.Errorf("audit %s does not say %q:\n%s", strings.Join(args, " "), line, out)
		}
	}
}

func sound(p producer.Producer) producer.Producer { return p }

// Two groups read one input and write one output; one loses half. What the other wrote hides
// nothing, unless it is said to.
func TestAuditOfOneOfTwoGroups(t *testing.T) {
	t.Parallel()
	s := newScenario(t, brokers(t))
	const n = 20 * partitions // every second offset of each partition is lost
	s.dated(n, time.Now())
	a, b := s.kafka.Name("loses"), s.kafka.Name("whole")
	s.process(a, n, func(p producer.Producer) producer.Producer { return lossy{p} }, s.output)
	s.process(b, n, sound, s.output)
	s.auditSays(1, []string{"--group", a, "--output", s.output}, "LOST: 60 inputs", "60 inputs are lost")
	s.auditSays(0, []string{"--group", b, "--output", s.output, "--strict"}, "CLEAN: nothing is lost")
	s.auditSays(0, []string{"--group", a, "--also-group", b, "--output", s.output}, "CLEAN: nothing is lost", "120 outputs of "+b+" count as this group's")
}

// Two outputs an input, and --output names one topic: the headers of what is there say that there
// is more.
func TestAuditWithATopicLeftOut(t *testing.T) {
	t.Parallel()
	s := newScenario(t, brokers(t))
	const n = 20
	s.dated(n, time.Now())
	second := s.kafka.CreateTopic("second", 1, nil)
	s.process(s.group, n, sound, s.output, second)
	s.auditSays(0, []string{"--group", s.group, "--output", s.output, "--output", second, "--strict"}, "CLEAN: nothing is lost")
	for left, number := range map[string]int{s.output: 1, second: 0} {
		s.auditSays(1, []string{"--group", s.group, "--output", left}, "LOST: 20 inputs", fmt.Sprintf("output %d is missing of 20 inputs; none of any input is in these topics: is one missing in --output?", number))
	}
}

// Inputs dated ahead, and outputs that were deleted: nothing is called lost. The brokers' clocks
// are believed, and only they.
func TestAuditAfterRetention(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		configs map[string]string // of the inputs
		says    string
		trusted int // exit code with --trust-clocks
	}{
		"the producers' clocks": {nil, "whatever times the records carry", 1}, // so it was before: the inputs look younger than the cut
		"the brokers' clocks":   {map[string]string{"message.timestamp.type": "LogAppendTime"}, "that miss an output are undecided; audit what came since with --from 20", 2},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScenario(t, brokers(t))
			s.input = s.kafka.CreateTopic("dated", partitions, tc.configs)
			const n = 60
			s.dated(n, time.Now().Add(50*time.Minute)) // brokers refuse more than an hour
			s.process(s.group, n, sound, s.output)
			ends, err := s.kafka.Admin().ListEndOffsets(s.Context(), s.output)
			if err != nil {
				t.Fatal(err)
			}
			cut := kadm.Offsets{}
			ends.Each(func(end kadm.ListedOffset) {
				cut.Add(kadm.Offset{Topic: end.Topic, Partition: end.Partition, At: max(end.Offset-1, 0)})
			})
			if _, err := s.kafka.Admin().DeleteRecords(s.Context(), cut); err != nil {
				t.Fatal(err)
			}
			args := []string{"--group", s.group, "--output", s.output}
			s.auditSays(2, args, "UNDECIDED: see the notes", tc.says)
			s.auditSays(tc.trusted, append(args, "--trust-clocks"))
		})
	}
}

// dated writes inputs that carry this time.
func (s *scenario) dated(n int, at time.Time) {
	s.Helper()
	client := s.kafka.Client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	var all []*kgo.Record
	for i := range n {
		all = append(all, &kgo.Record{Topic: s.input, Key: fmt.Append(nil, i%7), Value: fmt.Append(nil, i), Partition: int32(i % partitions), Timestamp: at})
	}
	if err := client.ProduceSync(s.Context(), all...).FirstErr(); err != nil {
		s.Fatal(err)
	}
}
