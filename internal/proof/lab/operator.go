package lab

import (
	"context"
	"maps"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
)

// ResetOffsets is kafka-consumer-groups --reset-offsets, which needs a group without members: each
// partition's offset is set to what at makes of it, without metadata. What lies above has to be
// handed out again, whatever was done before (fault 31).
func (l *Lab) ResetOffsets(at func(committed int64) int64) {
	commits := l.Commits()
	for p, c := range commits {
		commits[p] = kfake.GroupCommit{Offset: at(c.Offset), LeaderEpoch: -1}
	}
	l.SetOffsets(commits)
}

// Commits returns what the group has committed.
func (l *Lab) Commits() map[int32]kfake.GroupCommit {
	g := l.Cluster.GroupInfo(Group)
	if g == nil {
		return nil
	}
	return maps.Clone(g.Commits[In])
}

// SetOffsets is what a tool does that puts commits back, with their metadata.
func (l *Lab) SetOffsets(commits map[int32]kfake.GroupCommit) {
	l.Note("an operator sets the offsets: %v", commits)
	offsets := kadm.Offsets{}
	for p, c := range commits {
		offsets.Add(kadm.Offset{Topic: In, Partition: p, At: c.Offset, LeaderEpoch: c.LeaderEpoch, Metadata: c.Metadata})
	}
	l.admin(func(ctx context.Context, adm *kadm.Client) error {
		var err error
		l.jobs[0].watch.AsOperator(func() { err = adm.CommitAllOffsets(ctx, Group, offsets) })
		return err
	})
}

// RecreateTopic deletes the input topic and creates it again, empty. What was fed and not done is
// gone by intent, and judged no more.
func (l *Lab) RecreateTopic() {
	l.Note("delete and create %s", In)
	n := int32(len(l.Cluster.PartitionInfos(In)))
	l.admin(func(ctx context.Context, adm *kadm.Client) error {
		_, err := adm.DeleteTopic(ctx, In)
		return err
	})
	l.admin(func(ctx context.Context, adm *kadm.Client) error {
		_, err := adm.CreateTopic(ctx, n, 1, nil, In)
		return err
	})
	l.jobs[0].watch.Settle()
	l.feeder.again()
}

// AddPartitions adds partitions to the input topic. Keys move with it, so call Idle before and
// after, or the order of their inputs is nobody's.
func (l *Lab) AddPartitions(n int) {
	l.Note("add %d partitions", n)
	l.admin(func(ctx context.Context, adm *kadm.Client) error {
		r, err := adm.CreatePartitions(ctx, n, In)
		if err == nil {
			err = r.Error()
		}
		return err
	})
	l.Sleep(2 * feederMetadata)
}

func (l *Lab) admin(do func(ctx context.Context, adm *kadm.Client) error) {
	l.T.Helper()
	cl := l.Client("operator")
	defer cl.Close()
	ctx, cancel := l.context()
	defer cancel()
	if err := do(ctx, kadm.NewClient(cl)); err != nil {
		l.T.Fatal(err)
	}
}
