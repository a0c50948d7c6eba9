package sidecar

import (
	"github.com/twmb/franz-go/pkg/kgo"
)

// partitioner lets a record name its partition, and asks the inner one otherwise. Every record of the sidecar's client is an outRec.
type partitioner struct {
	inner kgo.Partitioner
}

type topicPartitioner struct {
	kgo.TopicPartitioner
}

type stickyPartitioner struct {
	topicPartitioner
	kgo.TopicPartitionerOnNewBatch
}

func (p partitioner) ForTopic(name string) kgo.TopicPartitioner {
	inner := p.inner.ForTopic(name)
	tp := topicPartitioner{inner}
	if on, ok := inner.(kgo.TopicPartitionerOnNewBatch); ok {
		return stickyPartitioner{tp, on}
	}
	return tp
}

func (p topicPartitioner) RequiresConsistency(r *kgo.Record) bool {
	return recordOf(r).explicit || p.TopicPartitioner.RequiresConsistency(r)
}

// Partition returns an explicit partition as it is, also one that does not exist: kgo then fails that record alone.
func (p topicPartitioner) Partition(r *kgo.Record, n int) int {
	rec := recordOf(r)
	if !rec.explicit {
		if p.RequiresConsistency(r) && int(rec.topic.partitions.Load()) != n { // then n counts all partitions, not only those that can be written to
			rec.topic.partitions.Store(int32(n))
		}
		return p.TopicPartitioner.Partition(r, n)
	}
	return int(r.Partition)
}
