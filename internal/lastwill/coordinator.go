package lastwill

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
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
	// of its session.
	Leave(group, member string) error
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
	Members []Member
}

// Member is one of a group, and what the group has given to it.
type Member struct {
	ID    string
	Given map[string][]int32
}
