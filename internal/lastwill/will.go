package lastwill

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/ackmark/ackmark/internal/groupcommit"
)

// maxRepairs bounds the fight with late commits of the dead process: each of them was on its way
// when it died.
const maxRepairs = 5

// Will is what is done for one membership of a dead process.
type Will struct {
	Member    groupcommit.Member
	Standings []Standing
	// Proven: the process is dead for certain, not just silent. Only then it cannot have joined
	// again.
	Proven bool
	// Remain in the group: units are still on their way, and the next owner would do them again.
	Remain bool
	// Secured are the offsets that a first commit of this will has made, see Secure.
	Secured map[Partition]int64
	// Principal is who asks Kafka, in errors: "the sidecar's principal" if empty.
	Principal string
	Log       *slog.Logger
}

// Result is what a will did.
type Result struct {
	Partitions int                 // that were committed, when all of them were
	Committed  map[Partition]int64 // what was committed last, also by Secure
	Repaired   int                 // commits of the dead process that came late, and were made good
	Superseded error               // the broker went on without the member: nothing, or not all, could be committed
	Left       bool                // the group
	Err        error               // why what is promised is not kept, beside Superseded
}

// errMemberGone is a membership that has ended: somebody else holds the partitions, or will, and a
// commit would be theirs to refuse.
var errMemberGone = errors.New("the broker does not know this member in this generation any more")

// Execute does it all, in the name of the dead member:
//
//	read the offsets → commit what they lack → read again → (commit again) → leave
//
// The reading back is for commits of the dead process that are still on their way: one that the
// broker takes after the will's would rewind it. After the leave the broker refuses them
// (UNKNOWN_MEMBER_ID), so the group is left only when the offsets are right. What remains is a
// commit that comes between the last reading and the leave: its cost is a repeat of what the will
// had added, never a loss.
func (w *Will) Execute(ctx context.Context, to Coordinator) Result {
	if w.Member.MemberID == "" {
		return Result{Committed: w.Secured} // it never said under which membership it held something
	}
	e := w.begin(to)
	err := e.commitAll(ctx)
	if refusedByEpoch(err) && w.Proven {
		err = e.commitLater(ctx, err)
	}
	if errors.Is(err, errMemberGone) {
		e.result.Superseded, err = err, nil
	}
	if !w.Remain && leaves(&w.Member) {
		left := retry(ctx, e.leave)
		e.result.Left = left == nil
		if w.Member.InstanceID != "" && left == nil && err == nil && e.result.Superseded == nil {
			err = e.repairReserved(ctx)
		}
		err = errors.Join(err, left)
	}
	e.result.Err = err
	return e.result
}

// leaves tells whether a member leaves its group by its will. The partitions of a static member
// wait for its return. A classic group lets its successor in as it is; the consumer protocol does
// so only when the member has left for now, and otherwise when its session is over.
func leaves(m *groupcommit.Member) bool {
	return m.InstanceID == "" || m.Protocol == groupcommit.Consumer
}

// leftForNow is the epoch of a static member between its leave and its successor. Kafka takes
// commits under it.
const leftForNow = -2

// repairReserved looks once more at what a static member left, now that the broker refuses what its
// dead process had on its way. From the moment that its successor is in, all is the successor's.
func (e *execution) repairReserved(ctx context.Context) error {
	partitions := e.result.Partitions
	e.member.Generation = leftForNow
	defer func() { e.result.Partitions = partitions }()
	if err := e.commitAll(ctx); !errors.Is(err, errMemberGone) {
		return err
	}
	return nil
}

// Secure commits what is done and no more: while the last units are on their way the membership may
// end. A will that is executed later is told of it by Secured.
func (w *Will) Secure(ctx context.Context, to Coordinator) Result {
	e := w.begin(to)
	e.result.Err = e.commitAll(ctx)
	return e.result
}

// execution is a will that is being executed: what it knows changes with the broker's answers.
type execution struct {
	member    groupcommit.Member
	standings []Standing
	to        Coordinator
	principal string
	log       *slog.Logger
	result    Result
}

func (w *Will) begin(to Coordinator) *execution {
	e := &execution{
		member: w.Member, standings: slices.Clone(w.Standings), to: to, principal: cmp.Or(w.Principal, "the sidecar's principal"), log: w.Log.With("group", w.Member.Group, "member", w.Member.MemberID),
		result: Result{Committed: maps.Clone(w.Secured)},
	}
	if e.result.Committed == nil {
		e.result.Committed = make(map[Partition]int64)
	}
	return e
}

// commitAll commits until the group has what the process has done.
func (e *execution) commitAll(ctx context.Context) error {
	if len(e.standings) == 0 {
		return nil
	}
	made := make(map[Partition]bool)
	for range maxRepairs + 1 {
		var have Offsets
		err := retry(ctx, func() (err error) {
			have, err = e.to.Offsets(ctx, e.member.Group, e.partitions())
			return err
		})
		if err != nil {
			return err
		}
		points := Plan(e.standings, have)
		if len(points) == 0 {
			e.result.Partitions = len(made)
			return nil
		}
		for i := range points {
			e.noteRepair(&points[i], have, made)
		}
		if err := retry(ctx, func() error { return e.commit(ctx, points) }); err != nil {
			return err
		}
		for i := range points {
			e.result.Committed[Partition{points[i].Topic, points[i].Partition}] = points[i].Offset
		}
	}
	return fmt.Errorf("will of group %q: the offsets were taken back %d times by somebody else", e.member.Group, maxRepairs)
}

func (e *execution) partitions() []Partition {
	all := make([]Partition, len(e.standings))
	for i := range e.standings {
		all[i] = e.standings[i].of()
	}
	return all
}

// noteRepair counts a commit that this will has made before, and that is to be made again.
func (e *execution) noteRepair(pt *groupcommit.Point, have Offsets, made map[Partition]bool) {
	key := Partition{pt.Topic, pt.Partition}
	found := int64(-1)
	if c, known := have.Committed[key]; known {
		found = c.Offset
	}
	if mark, before := e.result.Committed[key]; made[key] || before && found < mark {
		e.result.Repaired++
		e.log.Info("a late commit of the dead process is repaired", "topic", pt.Topic, "partition", pt.Partition, "offset", pt.Offset, "found", found)
	}
	made[key] = true
}

// retry calls fn until it succeeds, fails for good, or the will's time is over. Nothing is begun
// then.
func retry(ctx context.Context, fn func() error) error {
	b := backoff.NewExponentialBackOff(backoff.WithInitialInterval(20*time.Millisecond), backoff.WithMaxInterval(time.Second), backoff.WithMaxElapsedTime(0))
	return backoff.Retry(func() error {
		if ctx.Err() != nil {
			return backoff.Permanent(context.Cause(ctx))
		}
		err := fn()
		if err == nil || again(err) {
			return err
		}
		return backoff.Permanent(err)
	}, backoff.WithContext(b, ctx))
}

// again tells errors that pass from those that stay.
func again(err error) bool {
	return !errors.Is(err, errMemberGone) && groupcommit.Judge(err) == groupcommit.Again
}

// commit sends what is planned, in requests that the broker takes.
func (e *execution) commit(ctx context.Context, points []groupcommit.Point) error {
	for first, end := range groupcommit.Parts(e.member.Group, points) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := e.commitPart(points[first:end]); err != nil {
			return err
		}
	}
	return nil
}

func (e *execution) commitPart(points []groupcommit.Point) error {
	resp, err := e.to.Commit(groupcommit.Request(&e.member, points))
	if err != nil {
		return err
	}
	for _, err := range groupcommit.Answers(points, resp) {
		if errors.Is(err, kerr.OffsetMetadataTooLarge) {
			e.forgetDone(points)
		}
		if err := e.answer(err); err != nil {
			return err
		}
	}
	return nil
}

// answer sorts what the broker says of a partition's commit. What it refuses for one partition
// alone is found again, or not, at the next reading.
func (e *execution) answer(err error) error {
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		return nil // it passes for who reads the topic; a will does not wait for one that is gone
	}
	switch v := groupcommit.Judge(err); {
	case v == groupcommit.Accepted, v == groupcommit.Recreated:
		return nil
	case v == groupcommit.Ousted, errors.Is(err, kerr.StaleMemberEpoch), errors.Is(err, kerr.FencedInstanceID):
		return fmt.Errorf("%w: %w", errMemberGone, err)
	case v == groupcommit.Forbidden, errors.Is(err, kerr.TopicAuthorizationFailed):
		return fmt.Errorf("will of group %q: %w: %s", e.member.Group, err,
			groupcommit.Remedy(err, groupcommit.Who{Principal: e.principal, InstanceID: e.member.InstanceID}))
	}
	return err
}

// forgetDone takes the done-sets out of a will: the brokers take less metadata than Kafka's
// default. What finished out of order is done again.
func (e *execution) forgetDone(points []groupcommit.Point) {
	e.log.Warn("the brokers refuse done-sets: set offset.metadata.max.bytes to its default on them")
	for i := range points {
		points[i].Metadata = ""
	}
	for i := range e.standings {
		e.standings[i].Done = nil
	}
}

// leave takes the member out of the group. That it is not there any more is as good.
func (e *execution) leave() error {
	err := e.to.Leave(e.member)
	for _, gone := range []error{kerr.UnknownMemberID, kerr.GroupIDNotFound, kerr.FencedInstanceID} {
		if errors.Is(err, gone) {
			return nil
		}
	}
	return err
}
