package e2e

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// S11: the input topic is deleted and created anew while inputs of the old one are in hand. Their
// transaction gives the new topic no offset of the old one: the partitions halt, and a process that
// is started again reads the new one from its beginning, each input once.
func TestExactlyOnceInputCreatedAnew(t *testing.T) {
	t.Parallel()
	s := newScenario(t, brokers(t))
	sidecar := s.transactional()
	env := map[string]string{envMode: "exactly-once", envTimes: "50ms"}
	app := s.app("app", roleApp, env)
	s.produceInputs("old", 600) // six seconds of work
	s.outputs(100)
	s.createAnew(s.input)
	s.produceInputs("new", 600)
	s.await("each partition to halt", func() error {
		log := readLog(t, app.Log)
		for p := range partitions {
			if !strings.Contains(log, fmt.Sprintf("partition halted group=%s topic=%s partition=%d ", s.group, s.input, p)) {
				return fmt.Errorf("partition %d has not", p)
			}
		}
		return nil
	})
	if err := app.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.exits(app, 1) // it says what halted
	t.Logf("outputs: %v", s.made())
	if n := s.made()["NEW"]; n > 0 {
		t.Errorf("%d inputs of the new topic were handled as if they followed those of the old one", n)
	}
	app = s.app("again", roleApp, env)
	s.caughtUp()
	s.terminate(app, sidecar)
	for source, n := range s.seen() {
		if n > 1 {
			t.Errorf("%s: %d times", source, n)
		}
	}
	if made := s.made(); made["NEW"] != 600 || made["OLD"] > 600 {
		t.Errorf("outputs: %v", made)
	}
}

// The output topic is deleted and created anew, between two inputs and again: what comes then is in
// the new one, each input once, and nothing halts and no input is to blame.
func TestExactlyOnceOutputCreatedAnew(t *testing.T) {
	t.Parallel()
	const each = 300
	s := newScenario(t, brokers(t))
	sidecar := s.transactional()
	app := s.app("app", roleApp, map[string]string{envMode: "exactly-once"})
	for _, kind := range []string{"one", "two", "three"} {
		if kind != "one" {
			s.createAnew(s.output)
		}
		s.produceInputs(kind, each)
		s.caughtUp()
		if made := s.made(); len(made) != 1 || made[strings.ToUpper(kind)] != each {
			t.Errorf("outputs of %d inputs %q: %v", each, kind, made)
		}
	}
	s.terminate(app, sidecar)
	if log := readLog(t, sidecar.Log); !strings.Contains(log, "a transaction was aborted") {
		t.Errorf("the sidecar has met no new topic:\n%s", log)
	}
}

// createAnew deletes a topic, and creates one of its name.
func (s *scenario) createAnew(topic string) {
	s.Helper()
	if _, err := s.kafka.Admin().DeleteTopics(s.Context(), topic); err != nil {
		s.Fatal(err)
	}
	s.await("the topic to be gone, and there again", func() error { // Kafka deletes in its own time
		resp, err := s.kafka.Admin().CreateTopic(s.Context(), partitions, 3, nil, topic)
		return errors.Join(err, resp.Err)
	})
}

// produceInputs writes so many inputs of a kind, as many to each partition.
func (s *scenario) produceInputs(kind string, n int) {
	s.Helper()
	client := s.plain(kgo.DefaultProduceTopic(s.input), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.UnknownTopicRetries(-1))
	var all []*kgo.Record
	for i := range n {
		all = append(all, &kgo.Record{Partition: int32(i % partitions), Value: []byte(kind)})
	}
	if err := client.ProduceSync(s.Context(), all...).FirstErr(); err != nil && !errors.Is(err, kerr.UnknownTopicOrPartition) {
		s.Fatal(err)
	}
}

// made counts the outputs that are committed, by their values.
func (s *scenario) made() map[string]int {
	s.Helper()
	n := map[string]int{}
	s.readAll(s.output, func(r *kgo.Record) { n[string(r.Value)]++ }, committedOnly())
	return n
}
