// Package dlq reads a dead-letter topic and its position, and gives letters back: what is decided
// about them is of package letters, here Kafka is asked.
//
// The position is what a group has committed for the topic. It is written in the same transaction
// as the letters that go back, so that both are there or neither, whenever the process dies; and
// the transaction's id, which is made from the group's name, lets one process at a time move it:
// the newer one fences the older.
package dlq

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/letters"
	"github.com/ackmark/ackmark/internal/topicread"
)

// GroupOf is the group whose commits are the position of a topic, unless another one is named.
func GroupOf(topic string) string { return "ackmark-dlq-" + topic }

// Topic is a dead-letter topic as it was when it was opened.
type Topic struct {
	Name       string
	Group      string
	Partitions []Partition
	// New: the group has no commit for it.
	New bool

	client *kgo.Client
	id     kadm.TopicID
}

// Partition is one of its partitions.
type Partition struct {
	// Start and End bound what can be read.
	Start, End int64
	Position   letters.Position
}

// MissingTopicError names a topic that does not exist.
type MissingTopicError struct {
	Topic string
	Known []string // those that do
}

func (e *MissingTopicError) Error() string {
	return fmt.Sprintf("topic \"%s\" does not exist", letters.Printable(e.Topic))
}

// Open looks at a topic and its position.
func Open(ctx context.Context, client *kgo.Client, topic, group string) (*Topic, error) {
	t := &Topic{Name: topic, Group: group, client: client}
	details, err := describe(ctx, kadm.NewClient(client), topic)
	if err != nil {
		return nil, err
	}
	t.id, t.Partitions = details.ID, make([]Partition, len(details.Partitions))
	if err := t.bounds(ctx); err != nil {
		return nil, err
	}
	return t, t.Positions(ctx, false)
}

func describe(ctx context.Context, admin *kadm.Client, topic string) (d kadm.TopicDetail, err error) {
	topics, err := admin.ListTopics(ctx, topic)
	if err != nil {
		return d, fmt.Errorf("look at topic %s: %w; check --brokers", letters.Printable(topic), err)
	}
	d, ok := topics[topic]
	switch {
	case !ok || errors.Is(d.Err, kerr.UnknownTopicOrPartition) || errors.Is(d.Err, kerr.InvalidTopicException):
		missing := &MissingTopicError{Topic: topic}
		if all, err := admin.ListTopics(ctx); err == nil {
			missing.Known = all.Names()
		}
		return d, missing
	case d.Err != nil:
		return d, fmt.Errorf("look at topic %s: %w; check the permission to describe it", letters.Printable(topic), d.Err)
	}
	return d, nil
}

// bounds asks where the partitions begin, and where what is committed of them ends.
func (t *Topic) bounds(ctx context.Context) error {
	admin := kadm.NewClient(t.client)
	starts, err := admin.ListStartOffsets(ctx, t.Name)
	if err != nil {
		return fmt.Errorf("look where %s begins: %w", t.Name, err)
	}
	ends, err := admin.ListCommittedOffsets(ctx, t.Name)
	if err != nil {
		return fmt.Errorf("look where %s ends: %w", t.Name, err)
	}
	for i := range t.Partitions {
		start, ok := starts.Lookup(t.Name, int32(i))
		end, ok2 := ends.Lookup(t.Name, int32(i))
		if err := errors.Join(start.Err, end.Err); err != nil || !ok || !ok2 {
			return fmt.Errorf("partition %s/%d cannot be read now (%w); without it nothing is done: try again when it has a leader", t.Name, i, errors.Join(err, errNoAnswer(ok && ok2)))
		}
		t.Partitions[i].Start, t.Partitions[i].End = start.Offset, end.Offset
	}
	return nil
}

func errNoAnswer(answered bool) error {
	if answered {
		return nil
	}
	return errors.New("no broker answered for it")
}

// Positions reads the position again. Who writes by it needs it stable.
func (t *Topic) Positions(ctx context.Context, stable bool) error {
	commits, err := t.commits(ctx, stable)
	if err != nil {
		remedy := "; try again when its coordinator answers"
		if errors.Is(err, kerr.GroupAuthorizationFailed) {
			remedy = "; allow Describe on the group"
		}
		return fmt.Errorf("read the position, which is what group %s has committed: %w%s", t.Group, err, remedy)
	}
	t.New = true
	for i := range t.Partitions {
		p := &t.Partitions[i]
		p.Position = letters.Position{}
		if commit := commits[int32(i)]; commit.At >= 0 {
			t.New = false
			if p.Position, err = letters.ReadPosition(t.id, commit.At, commit.LeaderEpoch, commit.Metadata); err != nil {
				return fmt.Errorf("position of %s/%d, committed by group %s: %w; nothing is done by a position that is not understood: choose another --group, or set this one with kafka-consumer-groups.sh --reset-offsets", t.Name, i, t.Group, err)
			}
			if commit.At > p.End {
				return fmt.Errorf("position of %s/%d, committed by group %s, is %d, beyond the end %d: the topic was cut; set it with kafka-consumer-groups.sh --reset-offsets, or choose another --group", t.Name, i, t.Group, commit.At, p.End)
			}
		}
		p.Position.Finish(0, p.Start-1) // what was deleted waits no more
	}
	return nil
}

// Ends are the ends of the partitions.
func (t *Topic) Ends() []int64 {
	ends := make([]int64, len(t.Partitions))
	for i := range t.Partitions {
		ends[i] = t.Partitions[i].End
	}
	return ends
}

// Lower lets its partitions end where they ended before. One that has been added since has no end.
func (t *Topic) Lower(ends []int64) {
	for i := range t.Partitions {
		end := int64(0)
		if i < len(ends) {
			end = ends[i]
		}
		t.Partitions[i].End = min(t.Partitions[i].End, end)
	}
}

// Each reads the letters of all partitions, side by side; take is called for one at a time, those
// of a partition in their order. all also reads those below the marks.
func (t *Topic) Each(ctx context.Context, all bool, progress *topicread.Progress, take func(l *letters.Letter, done bool)) error {
	var mu sync.Mutex
	var tasks []*topicread.Task
	for i := range t.Partitions {
		tasks = append(tasks, t.task(i, all, func(records []*kgo.Record) error {
			mu.Lock()
			defer mu.Unlock()
			for _, rec := range records {
				l := letters.Of(rec)
				take(&l, t.Partitions[i].Position.Done(l.Offset))
			}
			return nil
		}))
	}
	return t.read(ctx, progress, tasks...)
}

// Partition reads the letters of one partition, in order, until take fails.
func (t *Topic) Partition(ctx context.Context, i int, all bool, take func(l *letters.Letter, done bool) error) error {
	return t.read(ctx, nil, t.task(i, all, func(records []*kgo.Record) error {
		for _, rec := range records {
			l := letters.Of(rec)
			if err := take(&l, t.Partitions[i].Position.Done(l.Offset)); err != nil {
				return err
			}
		}
		return nil
	}))
}

func (t *Topic) task(i int, all bool, take func([]*kgo.Record) error) *topicread.Task {
	p := &t.Partitions[i]
	from := p.Start
	if !all {
		from = p.Position.Mark()
	}
	return &topicread.Task{Topic: t.Name, ID: t.id, Partition: int32(i), Next: from, End: p.End, Take: take, Skipped: func() {}}
}

func (t *Topic) read(ctx context.Context, progress *topicread.Progress, tasks ...*topicread.Task) error {
	r := topicread.Reader{Client: t.client, Progress: progress}
	return r.Run(ctx, tasks)
}

// Waiting bounds how many offsets wait.
func (t *Topic) Waiting() (n int64) {
	for i := range t.Partitions {
		n += max(t.Partitions[i].End-t.Partitions[i].Position.Mark(), 0)
	}
	return n
}
