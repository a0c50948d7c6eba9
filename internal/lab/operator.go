package lab

import (
	"context"

	"github.com/twmb/franz-go/pkg/kadm"
)

// ResetOffsets is kafka-consumer-groups --reset-offsets, which needs a group without members: the offset of each partition that at returns one for is
// set to it, without metadata. What lies above has to be handed out again, whatever was done before (spec row 31).
func (l *Lab) ResetOffsets(at func(partition int32, committed int64) (offset int64, ok bool)) {
	l.Note("reset the offsets")
	offsets := kadm.Offsets{}
	for p, c := range l.Cluster.GroupInfo(Group).Commits[In] {
		if o, ok := at(p, c.Offset); ok {
			offsets.AddOffset(In, p, o, -1)
		}
	}
	l.admin(func(ctx context.Context, adm *kadm.Client) error {
		var err error
		l.watch.AsOperator(func() { err = adm.CommitAllOffsets(ctx, Group, offsets) })
		return err
	})
}

// RecreateTopic deletes the input topic and creates it again, empty. What was fed and not done is gone by intent, and judged no more.
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
	l.watch.Settle()
}

// AddPartitions adds partitions to the input topic. Keys move with it, so call Idle before and after, or the order of their inputs is nobody's.
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
