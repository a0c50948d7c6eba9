package txn

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/groupcommit"
)

// producing is who commits: a transactional id as it is now.
type producing struct {
	id    string
	pid   int64
	epoch int16

	before struct { // who committed the transaction before
		pid   int64
		epoch int16
	}
}

// moves notes who commits the next transaction, as the end of one has it.
func (p *producing) moves(pid int64, epoch int16) {
	p.before.pid, p.before.epoch = p.pid, p.epoch
	p.pid, p.epoch = pid, epoch
}

// isHeld tells that the id is held by the transaction before, whose end is decided and whose
// markers are not written. Where the epochs ran out, the next producer is not known yet.
func (p producing) isHeld(s *kmsg.DescribeTransactionsResponseTransactionState) bool {
	if !isDecided(s) {
		return false
	}
	ranOut := p.epoch == 0 && p.before.epoch == lastEpoch && p.before.pid != p.pid
	return s.ProducerID == p.pid && s.ProducerEpoch == p.epoch || ranOut && s.ProducerID == p.before.pid && s.ProducerEpoch > lastEpoch
}

// offsets are the requests that bring the offsets of windows into transactions, and read what
// groups have.
type offsets struct {
	*life
	cfg    *Config
	plain  *kgo.Client // asks
	inputs *inputs
}

// refusal is why offsets are not in a transaction.
type refusal struct {
	claims []*Claim
	member groupcommit.Member // that was refused
	blame  blame
	err    error
	own    map[*Claim]error // where each of the claims has one that is its own
}

// of is why a claim's offset is not in the transaction.
func (r *refusal) of(st *Claim) error {
	if err := r.own[st]; err != nil {
		return err
	}
	return r.err
}

// named is why, with the group where it is the group that may not be read.
func (r *refusal) named() error {
	if errors.Is(r.err, kerr.GroupAuthorizationFailed) && r.member.Group != "" {
		return fmt.Errorf("group %q: %w", r.member.Group, r.err)
	}
	return r.err
}

func (r *refusal) Error() string { return r.err.Error() }

// patience is how long a refused generation waits for the consumer to say the newer one.
const patience = 250 * time.Millisecond

// commitPart brings the offsets of one holder into the transaction. A generation that is too old
// leaves the transaction sound: the same request is sent again under the newer one, which is waited
// for as long as the patience goes.
func (o *offsets) commitPart(ctx context.Context, cl *kgo.Client, as producing, p part, patience time.Duration) *refusal {
	var patient time.Time // since the first refusal: before it the coordinator may have been away
	for {
		var rest part
		var last *refusal
		for _, r := range p.byMember() {
			bad := o.commitAs(ctx, cl, as, r)
			if bad == nil {
				continue
			}
			if patient.IsZero() {
				patient = time.Now().Add(patience)
			}
			if bad.blame != ofStale || !anyHeld(r.claims) || time.Now().After(patient) || ctx.Err() != nil {
				return bad
			}
			last = bad
			rest.claims, rest.points = append(rest.claims, r.claims...), append(rest.points, r.points...)
		}
		if last == nil {
			return nil
		}
		rest.holder, p = p.holder, rest
		if !o.sleep(ctx, 5*time.Millisecond) {
			return last
		}
	}
}

func anyHeld(claims []*Claim) bool {
	for _, st := range claims {
		st.of.mu.Lock()
		ours := st.state == held
		st.of.mu.Unlock()
		if ours {
			return true
		}
	}
	return false
}

// commitAs sends one membership's offsets.
func (o *offsets) commitAs(ctx context.Context, cl *kgo.Client, as producing, r request) *refusal {
	if r.abandoned {
		return &refusal{claims: r.claims, member: r.member, blame: ofMember, err: errGivenUp}
	}
	if !r.member.Valid() { // an empty group would take it from anyone
		return &refusal{claims: r.claims, member: r.member, blame: ofStale, err: fmt.Errorf("no membership in group %q", r.member.Group)}
	}
	for first, end := range groupcommit.Parts(r.member.Group, r.points) {
		if err := o.sendOffsets(ctx, cl, as, &r.member, r.points[first:end]); err != nil {
			return o.refusedBy(r, err)
		}
	}
	return nil
}

// refusedBy is the refusal of a request. What is a partition's own fault is not the others'.
func (o *offsets) refusedBy(r request, err error) *refusal {
	bad := &refusal{claims: r.claims, member: r.member, blame: o.blameOffsets(err), err: err}
	of, told := errors.AsType[*answerError](err)
	if bad.blame != ofUnit || !told || len(of.places) == 0 {
		return bad
	}
	var guilty []*Claim
	own := map[*Claim]error{}
	for i, st := range r.claims {
		if err := of.places[place{r.points[i].Topic, r.points[i].Partition}]; err != nil {
			guilty, own[st] = append(guilty, st), err
		}
	}
	if len(guilty) > 0 { // or the answer speaks of what was not asked for
		bad.claims, bad.own = guilty, own
	}
	return bad
}

// answerError is the gravest error of an answer, and those of partitions that are their own.
type answerError struct {
	err    error
	places map[place]error
}

func (e *answerError) Error() string { return e.err.Error() }
func (e *answerError) Unwrap() error { return e.err }

var errGivenUp = errors.New("the assignment was given up")

// sendOffsets sends one request until it is answered for good. What the topics are is asked again
// before it is sent again.
func (o *offsets) sendOffsets(ctx context.Context, cl *kgo.Client, as producing, m *groupcommit.Member, points []groupcommit.Point) error {
	since, said := o.inputs.since, error(nil)
	for pause := 2 * time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		err := o.sameTopics(ctx, cl, points, since)
		if err == nil {
			err = o.takeOffsets(ctx, cl, as, m, points)
			since, said = time.Now(), err
		}
		if err != nil && isRetryable(err) && o.sleep(ctx, pause) {
			continue
		}
		if isAsk(err) && said != nil {
			return said // by the coordinator, before that
		}
		return err
	}
}

func (o *offsets) takeOffsets(ctx context.Context, cl *kgo.Client, as producing, m *groupcommit.Member, points []groupcommit.Point) error {
	resp, err := txnRequest(as, m, points).RequestWith(ctx, cl)
	if err != nil {
		return err
	}
	o.inputs.answeredIn(resp.Version)
	return o.txnAnswer(points, resp)
}

// txnRequest is the TxnOffsetCommit of a membership.
func txnRequest(as producing, m *groupcommit.Member, points []groupcommit.Point) *kmsg.TxnOffsetCommitRequest {
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch = as.id, as.pid, as.epoch
	req.Group, req.MemberID, req.Generation = m.Group, m.MemberID, m.Generation
	if m.InstanceID != "" {
		req.InstanceID = &m.InstanceID
	}
	for _, places := range groupcommit.ByTopic(points) {
		t := kmsg.NewTxnOffsetCommitRequestTopic()
		t.Topic, t.TopicID = points[places[0]].Topic, points[places[0]].TopicID
		for _, i := range places {
			pt := &points[i]
			p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
			p.Partition, p.Offset, p.LeaderEpoch, p.Metadata = pt.Partition, pt.Offset, pt.LeaderEpoch, &pt.Metadata
			t.Partitions = append(t.Partitions, p)
		}
		req.Topics = append(req.Topics, t)
	}
	return req
}

// txnAnswer looks at every partition: all were taken, or the gravest error. A partition that the
// answer leaves out was not taken.
func (o *offsets) txnAnswer(points []groupcommit.Point, resp *kmsg.TxnOffsetCommitResponse) error {
	var worst error
	ofUnits := map[place]error{}
	index, taken := groupcommit.NewIndex(points), map[place]bool{}
	for _, t := range resp.Topics {
		name := index.Topic(t.Topic, t.TopicID)
		for _, p := range t.Partitions {
			err := kerr.ErrorForCode(p.ErrorCode)
			if err == nil {
				taken[place{name, p.Partition}] = true
				continue
			}
			if o.blameOffsets(err) == ofUnit {
				ofUnits[place{name, p.Partition}] = err
			}
			err = fmt.Errorf("offset of topic %q partition %d: %w", name, p.Partition, err)
			if worst == nil || blameOffsets(err) > blameOffsets(worst) || isRetryable(worst) && !isRetryable(err) {
				worst = err
			}
		}
	}
	if worst != nil {
		return &answerError{worst, ofUnits}
	}
	for i := range points {
		if pt := &points[i]; !taken[place{pt.Topic, pt.Partition}] {
			return fmt.Errorf("offset of topic %q partition %d: %w", pt.Topic, pt.Partition, errNoAnswer)
		}
	}
	return nil
}

var errNoAnswer = errors.New("the coordinator's answer leaves it out")
