package e2e

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/proof/verify/reader"
)

// commit is one accepted commit of the group, as the brokers wrote it to __consumer_offsets: none
// is missed, unlike by polling.
type commit struct {
	partition int32
	offset    int64
	at        time.Time // the coordinator's clock when it took the commit
	metadata  string
}

// readAll calls each for every record that a topic has now, in order within a partition.
func (s *scenario) readAll(topic string, each func(*kgo.Record), more ...kgo.Opt) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
	defer cancel()
	if err := reader.Topic(ctx, append([]kgo.Opt{kgo.SeedBrokers(s.kafka.Addrs()...)}, more...), topic, each); err != nil {
		s.Fatal(err)
	}
}

// commits reads the group's commits of the input topic in the order in which they were accepted.
func (s *scenario) commits() (all []commit) {
	s.Helper()
	s.readAll("__consumer_offsets", func(r *kgo.Record) {
		var key kmsg.OffsetCommitKey
		var value kmsg.OffsetCommitValue
		// Versions 0 and 1 are commits, 2 is the group's membership; no value is a removal.
		if err := key.ReadFrom(r.Key); err != nil || key.Version > 1 || key.Group != s.group || key.Topic != s.input || r.Value == nil {
			return
		}
		if err := value.ReadFrom(r.Value); err != nil {
			s.Fatalf("__consumer_offsets/%d@%d: %v", r.Partition, r.Offset, err)
		}
		all = append(all, commit{key.Partition, value.Offset, time.UnixMilli(value.CommitTimestamp), value.Metadata})
	})
	return all
}
