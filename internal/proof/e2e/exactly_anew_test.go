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
	if _, err := s.kafka.Admin().DeleteTopics(s.Context(), s.input); err != nil {
		t.Fatal(err)
	}
	s.await("the topic to be gone, and there again", func() error { // Kafka deletes in its own time
		resp, err := s.kafka.Admin().CreateTopic(s.Context(), partitions, 3, nil, s.input)
		return errors.Join(err, resp.Err)
	})
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
