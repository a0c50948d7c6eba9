package demo

import (
	"context"
	"strconv"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Inputs without an output are lost where the group's commit is past them; behind it they are only not done yet.
func TestVerdictTellsLostFromUnfinished(t *testing.T) {
	ctx := context.Background()
	s := &show{plan: newPlan(Options{Partitions: 1}, 10)}
	var err error
	if s.cluster, err = openCluster(ctx, s.plan); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.cluster.close(ctx); err != nil {
			t.Error(err)
		}
	}()
	s.prepare(nil, "unused")
	if err := s.cluster.createTopics(ctx, 1, s.ackmark.output, s.auto.output); err != nil {
		t.Fatal(err)
	}
	write := func(topic string, id int, value string) {
		t.Helper()
		r := &kgo.Record{Topic: topic, Key: []byte("k"), Value: []byte(value), Headers: []kgo.RecordHeader{{Key: idHeader, Value: strconv.AppendInt(nil, int64(id), 10)}}}
		if err := s.cluster.client.ProduceSync(ctx, r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for id := range s.Records {
		s.gen.ledger.add(checksum([]byte("X")))
		write(s.cluster.input, id, "x")
	}
	for _, id := range []int{0, 1, 2, 2, 7} { // 3 has no output
		write(s.auto.output, id, "X")
	}
	commit := kadm.Offsets{}
	commit.AddOffset(s.cluster.input, 0, 4, -1)
	if _, err := s.cluster.adm.CommitOffsets(ctx, s.auto.group, commit); err != nil {
		t.Fatal(err)
	}
	ends, err := s.cluster.adm.ListEndOffsets(ctx, s.cluster.input)
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.judge(ctx, s.auto, ends)
	if err != nil {
		t.Fatal(err)
	}
	if got.Lost != 1 || got.Unfinished != 5 || got.Lag != 6 || got.Duplicated != 1 {
		t.Errorf("lost %d, not done yet %d, lag %d, duplicated %d; want 1 (id 3), 5 (4, 5, 6, 8, 9), 6 and 1", got.Lost, got.Unfinished, got.Lag, got.Duplicated)
	}
}
