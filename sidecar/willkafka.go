package sidecar

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/groupcommit"
)

const (
	// willSteps is how long the requests of a will may take when its units were late.
	willSteps = 5 * time.Second
	// maxRepairs bounds the fight with late commits of the dead process: each of them was on its way when it died.
	maxRepairs = 5
)

// will is executed in the name of a member that is dead, to the group's coordinator:
//
//	read the offsets → commit what they lack → read again → (commit again) → leave
//
// The reading back is for commits of the dead process that are still on their way: one that the broker takes after the will's would rewind it. After
// the leave the broker refuses them (UNKNOWN_MEMBER_ID), so the group is left only when the offsets are right. What remains is a commit that
// comes between the last reading and the leave: its cost is a repeat of what the will had added, never a loss.
type will struct {
	server *Server
	testament
	proven     bool  // its process is dead for certain
	stay       bool  // in the group: units are still on their way
	committed  int   // partitions
	marks      marks // that were committed for it, also by its first commit
	superseded error // the broker went on without it: nothing, or not all, could be committed
	left       bool  // the group
}

// marks are what was committed of partitions.
type marks map[partitionKey]int64

// errMemberGone is a membership that has ended: somebody else holds the partitions, or will, and a commit would be theirs to refuse.
var errMemberGone = errors.New("the broker does not know this member in this generation any more")

func (w *will) execute(ctx context.Context) error {
	if w.member == "" {
		return nil // it never said under which membership it held something
	}
	err := w.commitAll(ctx)
	if errors.Is(err, kerr.IllegalGeneration) && w.proven {
		err = w.commitLater(ctx, err)
	}
	if errors.Is(err, errMemberGone) {
		w.superseded, err = err, nil
	}
	if w.stay || w.instance != "" {
		return err // a static member's partitions wait for its return; a leave would give them away
	}
	lerr := w.retry(ctx, w.leave)
	w.left = lerr == nil
	return errors.Join(err, lerr)
}

// commitAll commits until the group has what the process has done.
func (w *will) commitAll(ctx context.Context) error {
	if len(w.stays) == 0 {
		return nil
	}
	var made map[partitionKey]bool
	for range maxRepairs + 1 {
		var have map[partitionKey]committed
		err := w.retry(ctx, func(ctx context.Context) (err error) {
			have, err = w.offsets(ctx)
			return err
		})
		if err != nil {
			return err
		}
		plan := planWill(w.stays, have)
		if len(plan) == 0 {
			w.committed = len(made)
			return nil
		}
		if made == nil {
			made = make(map[partitionKey]bool)
		}
		for _, b := range plan {
			key := partitionKey{b.topic, b.partition}
			if mark, before := w.marks[key]; made[key] || before && have[key].offset < mark {
				w.server.wills.repaired.Add(1)
				w.server.log.Info("a late commit of the dead process is repaired", "group", w.group, "topic", b.topic, "partition", b.partition, "offset", b.mark, "found", have[key].offset)
			}
			made[key] = true
		}
		points := pointsOf(plan)
		if err := w.retry(ctx, func(ctx context.Context) error { return w.commit(ctx, points) }); err != nil {
			return err
		}
		for _, b := range plan {
			if w.marks == nil {
				w.marks = marks{}
			}
			w.marks[partitionKey{b.topic, b.partition}] = b.mark
		}
	}
	return fmt.Errorf("will of group %q: the offsets were taken back %d times by somebody else", w.group, maxRepairs)
}

// retry calls fn until it succeeds, fails for good, or the will's time is over.
func (w *will) retry(ctx context.Context, fn func(context.Context) error) error {
	b := backoff.NewExponentialBackOff(backoff.WithInitialInterval(20*time.Millisecond), backoff.WithMaxInterval(time.Second), backoff.WithMaxElapsedTime(0))
	return backoff.Retry(func() error {
		err := fn(ctx)
		if err == nil || again(err) && ctx.Err() == nil {
			return err
		}
		return backoff.Permanent(err)
	}, backoff.WithContext(b, ctx))
}

// again tells errors that pass from those that stay.
func again(err error) bool {
	return !errors.Is(err, errMemberGone) && groupcommit.Judge(err) == groupcommit.Again
}

// offsets reads what the group has for the partitions of the will. A topic that was deleted, or created again under its name, is left out: its offsets
// are not those of the dead process (S11).
func (w *will) offsets(ctx context.Context) (map[partitionKey]committed, error) {
	adm := kadm.NewClient(w.server.client)
	var topics []string
	seen := make(map[string]bool)
	for _, st := range w.stays {
		if !seen[st.topic] {
			seen[st.topic] = true
			topics = append(topics, st.topic)
		}
	}
	details, err := adm.ListTopics(ctx, topics...)
	if err != nil {
		return nil, err
	}
	all, err := adm.FetchOffsets(ctx, w.group)
	if err != nil {
		return nil, err
	}
	have := make(map[partitionKey]committed)
	for _, st := range w.stays {
		t := details[st.topic]
		if st.topicID != ([16]byte{}) && t.Err == nil && [16]byte(t.ID) != st.topicID || errors.Is(t.Err, kerr.UnknownTopicOrPartition) {
			continue
		}
		c := committed{offset: -1, leaderEpoch: -1}
		if o, ok := all.Lookup(st.topic, st.partition); ok {
			if o.Err != nil {
				return nil, o.Err
			}
			c = committed{o.At, o.LeaderEpoch, o.Metadata}
		}
		have[partitionKey{st.topic, st.partition}] = c
	}
	return have, nil
}

// pointsOf is a plan as a commit.
func pointsOf(plan []bequest) []groupcommit.Point {
	points := make([]groupcommit.Point, len(plan))
	for i := range plan {
		b := &plan[i]
		points[i] = groupcommit.Point{
			Topic: b.topic, TopicID: b.topicID, Partition: b.partition, Offset: b.mark, LeaderEpoch: -1, Metadata: b.metadata,
		}
	}
	return points
}

// commit sends what is planned as the dead member, in requests that the broker takes.
func (w *will) commit(ctx context.Context, points []groupcommit.Point) error {
	for first, end := range groupcommit.Parts(w.group, points) {
		if err := w.commitPart(ctx, points[first:end]); err != nil {
			return err
		}
	}
	return nil
}

func (w *will) commitPart(ctx context.Context, points []groupcommit.Point) error {
	member := groupcommit.Member{Group: w.group, MemberID: w.member, InstanceID: w.instance, Generation: w.generation}
	raw, err := w.write(ctx, groupcommit.Request(&member, points))
	if err != nil {
		return err
	}
	for _, err := range groupcommit.Answers(points, raw.(*kmsg.OffsetCommitResponse)) { //nolint:forcetypeassert // of its request
		if errors.Is(err, kerr.OffsetMetadataTooLarge) {
			w.forgetDone(points)
		}
		if err := w.answer(err); err != nil {
			return err
		}
	}
	return nil
}

// write sends what changes the group and waits for the answer, or until its connection is dead: a request that was given up could reach the broker after the next
// one (S3). Only the sidecar's end ends the wait. Requests on one connection are served in order, so what follows on it is later for the broker, too.
func (w *will) write(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return w.server.client.Request(w.server.life, req)
}

// answer sorts what the broker says of a partition's commit. What it refuses for one partition alone is found again, or not, at the next reading.
func (w *will) answer(err error) error {
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		return nil // it passes for who reads the topic; a will does not wait for one that is gone
	}
	switch v := groupcommit.Judge(err); {
	case v == groupcommit.Accepted, v == groupcommit.Recreated:
		return nil
	case v == groupcommit.Ousted, errors.Is(err, kerr.FencedInstanceID):
		return fmt.Errorf("%w: %w", errMemberGone, err)
	case v == groupcommit.Forbidden, errors.Is(err, kerr.TopicAuthorizationFailed):
		return fmt.Errorf("will of group %q: %w: %s", w.group, err,
			groupcommit.Remedy(err, groupcommit.Who{Principal: "the sidecar's principal", InstanceID: w.instance}))
	}
	return err
}

// forgetDone takes the done-sets out of a will: the brokers take less metadata than Kafka's default. What finished out of order is done again.
func (w *will) forgetDone(points []groupcommit.Point) {
	w.server.log.Warn("the brokers refuse done-sets: set offset.metadata.max.bytes to its default on them", "group", w.group)
	for i := range points {
		points[i].Metadata = ""
	}
	for i := range w.stays {
		w.stays[i].done = nil
	}
}

// leave takes the member out of the group, so that its partitions move at once and not at the end of its session. That it is not there any more is as good.
func (w *will) leave(ctx context.Context) error {
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group, req.MemberID = w.group, w.member
	m := kmsg.NewLeaveGroupRequestMember()
	m.MemberID = w.member
	m.Reason = kmsg.StringPtr("ackmark: the sidecar executed this process's will")
	req.Members = append(req.Members, m)
	raw, err := w.write(ctx, req)
	if err != nil {
		return err
	}
	resp := raw.(*kmsg.LeaveGroupResponse)
	err = kerr.ErrorForCode(resp.ErrorCode)
	for _, m := range resp.Members {
		if err == nil {
			err = kerr.ErrorForCode(m.ErrorCode)
		}
	}
	if errors.Is(err, kerr.UnknownMemberID) {
		return nil
	}
	return err
}
