package groupcommit

import (
	"iter"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Member is the membership that a commit is made under. The coordinator checks all of it, and
// nothing else: not the connection (Kafka's GroupMetadataManager, validateOffsetCommit).
type Member struct {
	Group      string
	MemberID   string
	InstanceID string // "" for a dynamic member
	Generation int32  // in the consumer protocol, the member's epoch
	Protocol   Protocol
}

// Valid tells that a broker checks a commit of this membership: an empty group takes generation −1
// from anyone.
func (m *Member) Valid() bool { return m.Generation >= 0 && m.MemberID != "" }

// Point is what a commit says of one partition.
type Point struct {
	Topic       string
	TopicID     [16]byte // zero: the brokers tell none
	Partition   int32
	Offset      int64  // the first that is not done
	LeaderEpoch int32  // of the record before it; -1: not known
	Metadata    string // the done-set
}

// Request makes the OffsetCommit of a membership.
func Request(m *Member, points []Point) *kmsg.OffsetCommitRequest {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.MemberID, req.Generation = m.Group, m.MemberID, m.Generation
	if m.InstanceID != "" {
		req.InstanceID = &m.InstanceID
	}
	for _, places := range ByTopic(points) {
		t := kmsg.NewOffsetCommitRequestTopic()
		t.Topic, t.TopicID = points[places[0]].Topic, points[places[0]].TopicID
		for _, i := range places {
			pt := &points[i]
			p := kmsg.NewOffsetCommitRequestTopicPartition()
			p.Partition, p.Offset, p.LeaderEpoch, p.Metadata = pt.Partition, pt.Offset, pt.LeaderEpoch, &pt.Metadata
			t.Partitions = append(t.Partitions, p)
		}
		req.Topics = append(req.Topics, t)
	}
	return req
}

// Answers says what the coordinator answers each point, by the point's place. A point that the
// answer leaves out is left out; one that it names and that nobody asked about, too. From version
// 10 on the answer names topics by id only.
func Answers(points []Point, resp *kmsg.OffsetCommitResponse) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		index := NewIndex(points)
		for _, t := range resp.Topics {
			name := index.Topic(t.Topic, t.TopicID)
			for _, p := range t.Partitions {
				i, asked := index.Place(name, p.Partition)
				if asked && !yield(i, kerr.ErrorForCode(p.ErrorCode)) {
					return
				}
			}
		}
	}
}

// MaxRequest bounds one OffsetCommit. A broker writes it to __consumer_offsets as one batch, and
// refuses all of it with UNKNOWN_SERVER_ERROR above that topic's max.message.bytes, 1,048,588 by
// default. Half of that leaves room for a broker with less.
const MaxRequest = 512 << 10

// overhead is what a partition takes in that batch beside its names and metadata: record, key and
// value.
const overhead = 96

// Parts cuts a commit into requests that a broker takes, in order: from the first place, to the one
// behind the last. A point that is too large alone goes alone: the broker's verdict is about it
// then, and not about the others.
func Parts(group string, points []Point) iter.Seq2[int, int] {
	return func(yield func(first, end int) bool) {
		first, sum := 0, 0
		for i := range points {
			n := len(group) + len(points[i].Topic) + len(points[i].Metadata) + overhead
			if i > first && sum+n > MaxRequest {
				if !yield(first, i) {
					return
				}
				first, sum = i, 0
			}
			sum += n
		}
		if first < len(points) {
			yield(first, len(points))
		}
	}
}
