package lastwill

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/groupcommit"
)

// Coordinator is what a will needs of a group's coordinator. Errors of the broker are kerr's.
type Coordinator interface {
	// Offsets reads what the group has committed of partitions, and what their topics are by now.
	Offsets(ctx context.Context, group string, partitions []Partition) (Offsets, error)
	// Describe tells who is in the group.
	Describe(ctx context.Context, group string) (Group, error)

	// Commit and Leave change the group, and take no context: a request that was given up could
	// reach the broker after the next one (S3). They return with the broker's answer, or when their
	// connection is dead. What is asked later is later for the broker, too.

	// Commit commits offsets.
	Commit(req *kmsg.OffsetCommitRequest) (*kmsg.OffsetCommitResponse, error)
	// Leave takes a member out of the group, so that its partitions move at once and not at the end
	// of its session. A static member of the consumer protocol leaves for now: its successor may
	// come at once, and its partitions wait for it. That it is not in the group is its error, as
	// the broker says it.
	Leave(m groupcommit.Member) error
}

// Offsets is what a group has committed, and what its topics are.
type Offsets struct {
	Topics    map[string]Topic // without those that no broker could tell of
	Committed map[Partition]Committed
}

// Topic is what a topic is by now.
type Topic struct {
	ID   [16]byte // zero: the brokers tell none
	Gone bool     // it was deleted
}

// Partition names one in a group's offsets.
type Partition struct {
	Topic string
	Index int32
}

// Committed is what a group has for a partition.
type Committed struct {
	Offset      int64
	LeaderEpoch int32
	Metadata    string
}

// Group is what a coordinator shows of a group.
type Group struct {
	State   string // "Stable", "PreparingRebalance", …
	Epochs  bool   // its coordinator tells each member's: a group of the consumer protocol, whatever protocol its members have
	Members []Member
}

// Member is one of a group, and what the group has given to it.
type Member struct {
	ID       string
	Epoch    int32 // that commits must have, see Group.Epochs
	Given    map[string][]int32
	GivenIDs map[[16]byte][]int32 // the same by topic id, where the coordinator tells those
}

// has tells whether a partition was given to the member.
func (m *Member) has(s *Standing) bool {
	return slices.Contains(m.Given[s.Topic], s.Partition) || slices.Contains(m.GivenIDs[s.TopicID], s.Partition)
}
