package e2e

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/consumer"
)

// A loop of one's own over consumer.Messages: two members, outputs by a plain client whose promise
// ends the input.
func TestPlainLoop(t *testing.T) {
	t.Parallel()
	s := newScenario(t, brokers(t))
	ctx, cancel := context.WithCancel(t.Context())
	var loops sync.WaitGroup
	t.Cleanup(func() { cancel(); loops.Wait() })
	for range 2 {
		loops.Go(func() { s.loop(ctx) })
	}
	f := s.feed(1000)
	s.members(2)
	f.more(3000)
	n := f.finish()
	s.caughtUp()
	cancel()
	loops.Wait()
	s.verify(n)
}

func (s *scenario) loop(ctx context.Context) {
	c, err := consumer.New(consumer.Config{Brokers: s.kafka.Addrs(), Group: s.group, Topics: []string{s.input}, Protocol: protocolUnderTest, Logger: s.logger()})
	if err != nil {
		s.Error(err)
		return
	}
	out := s.plain(kgo.DefaultProduceTopic(s.output))
	for m, err := range c.Messages(ctx) {
		if err != nil {
			s.Error(err)
			return
		}
		out.Produce(context.Background(), &kgo.Record{Key: m.Key, Value: bytes.ToUpper(m.Value)}, func(_ *kgo.Record, err error) { m.Done(err) })
	}
	if err := c.Close(); err != nil {
		s.Error(err)
	}
}

// logger writes to the test's log.
func (s *scenario) logger() *slog.Logger { return slog.New(slog.NewTextHandler(s.Output(), nil)) }

// trimmed makes a scenario whose group committed 60 of one partition's inputs, and whose log then
// lost the first 80 of 100.
func trimmed(t *testing.T) *scenario {
	t.Helper()
	s := newScenario(t, brokers(t))
	client := s.plain(kgo.DefaultProduceTopic(s.input), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for range 100 {
		client.Produce(t.Context(), &kgo.Record{Partition: 0, Key: []byte("key"), Value: []byte("value")}, nil)
	}
	if err := client.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	var commit kadm.Offsets
	commit.AddOffset(s.input, 0, 60, -1)
	if err := s.kafka.Admin().CommitAllOffsets(t.Context(), s.group, commit); err != nil {
		t.Fatal(err)
	}
	var until kadm.Offsets
	until.AddOffset(s.input, 0, 80, -1)
	r, err := s.kafka.Admin().DeleteRecords(t.Context(), until)
	if err = errors.Join(err, r.Error()); err != nil {
		t.Fatal(err)
	}
	return s
}

// Out of range halts the partition and names what is lost; nothing is committed.
func TestOutOfRangeHalts(t *testing.T) {
	t.Parallel()
	s := trimmed(t)
	ctx, cancel := context.WithTimeout(t.Context(), settle)
	defer cancel()
	c, err := consumer.New(consumer.Config{Brokers: s.kafka.Addrs(), Group: s.group, Topics: []string{s.input}, Protocol: protocolUnderTest, Logger: s.logger()})
	if err != nil {
		t.Fatal(err)
	}
	var halt *consumer.HaltError
	for m, err := range c.Messages(ctx) {
		if err == nil {
			t.Fatalf("an input was handed out: %d@%d", m.Partition, m.Offset)
		}
		if !errors.As(err, &halt) {
			t.Fatal(err)
		}
		break
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if halt == nil {
		t.Fatal("the loop ended without an error")
	}
	t.Log(halt)
	if halt.Topic != s.input || halt.Partition != 0 || halt.LostFrom != 60 || halt.LostTo != 80 || halt.Remedy == "" {
		t.Errorf("%+v", halt)
	}
	if text := halt.Error(); !strings.Contains(text, "offsets 60 to 79 are lost") {
		t.Errorf("the error does not name the range: %s", text)
	}
	committed, err := s.kafka.Admin().FetchOffsets(t.Context(), s.group)
	if at, _ := committed.Lookup(s.input, 0); err != nil || at.At != 60 {
		t.Errorf("committed %d, want 60 as before; %v", at.At, err)
	}
}

// With OnOutOfRange: ResetEarliest it goes on behind the lost range.
func TestOutOfRangeEarliest(t *testing.T) {
	t.Parallel()
	s := trimmed(t)
	sidecar, a := s.sidecar(), s.app("app", roleEarliest, nil)
	s.outputs(20)
	s.caughtUp()
	s.terminate(a, sidecar)
	if n := s.count(); n != 20 {
		t.Errorf("%d outputs, want those of offsets 80 to 99", n)
	}
}

// A fact of Kafka that our commits' metadata rests on: 4096 characters are taken, one more is
// refused. The embedded broker takes any.
func TestMetadataLimit(t *testing.T) {
	t.Parallel()
	s := newScenario(t, brokers(t))
	const limit = 4096
	for length, want := range map[int]error{limit: nil, limit + 1: kerr.OffsetMetadataTooLarge} {
		var offsets kadm.Offsets
		offsets.Add(kadm.Offset{Topic: s.input, Partition: 0, At: 0, LeaderEpoch: -1, Metadata: strings.Repeat("m", length)})
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		err := s.kafka.Admin().CommitAllOffsets(ctx, s.group, offsets)
		cancel()
		if !errors.Is(err, want) {
			t.Errorf("metadata of %d characters: %v, want %v", length, err, want)
		}
	}
}
