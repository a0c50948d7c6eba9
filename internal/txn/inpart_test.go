package txn_test

import (
	"errors"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/txn"
)

// abortsUnknown has the next transaction aborted, and its lane not know it; then it is closed.
func (r *rig) abortsUnknown() <-chan struct{} {
	ended := make(chan struct{})
	said := 0
	r.cluster.ControlKey(int16(kmsg.EndTxn), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		r.cluster.KeepControl()
		if said++; said != 1 {
			return nil, nil, false
		}
		close(ended)
		resp := kreq.ResponseKind().(*kmsg.EndTxnResponse)
		resp.ErrorCode = kerr.UnknownServerError.Code
		return resp, nil, true
	})
	return ended
}

// tells has a group tell a lane of each partition what a test says. It is not known where that says
// nothing.
func (r *rig) tells(group string, of func(partition int32, answer *kmsg.OffsetFetchResponseGroupTopicPartition)) {
	r.cluster.ControlKey(int16(kmsg.OffsetFetch), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		r.cluster.KeepControl()
		req := kreq.(*kmsg.OffsetFetchRequest)
		if len(req.Groups) != 1 || len(req.Groups[0].Topics) == 0 || req.Groups[0].Group != group { // a member's, or the test's
			return nil, nil, false
		}
		resp := beforeTheMarkers(req, -1).(*kmsg.OffsetFetchResponse)
		for i := range resp.Groups[0].Topics[0].Partitions {
			p := &resp.Groups[0].Topics[0].Partitions[i]
			of(p.Partition, p)
		}
		return resp, nil, true
	})
}

// leaves has the rig's member be none any more.
func (r *rig) leaves() {
	r.t.Helper()
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group, req.MemberID = r.member.Group, r.member.MemberID
	req.Members = append(req.Members, kmsg.LeaveGroupRequestMember{MemberID: r.member.MemberID})
	if resp, err := req.RequestWith(r.t.Context(), r.client()); err != nil || resp.ErrorCode != 0 {
		r.t.Fatal(err, resp)
	}
}

// both pushes a batch of two units, each of its own claim.
func (r *rig) both(one, two *txn.Claim, of int) *twoClaims {
	b := &twoClaims{units: &units{r: r, value: value(of), fates: make([]error, 2), left: 2, done: make(chan struct{})}, claims: [2]*txn.Claim{one, two}}
	r.lane.Push(txn.Run{Batch: b, From: 0, To: 2})
	return b
}

// A next owner, of whom the former one has not heard, has done just what an aborted transaction was
// to do: its offset is the very one. That does not tell that the transaction was committed, and
// others whose group is away do not lose what they had in it.
func TestANextOwnerHasGoneOnToTheSamePlace(t *testing.T) {
	r := newRig(t)
	o := r.withAnother()
	ended := r.abortsUnknown()
	var left atomic.Bool
	asked := make(chan struct{}, 1)
	r.tells("g", func(_ int32, p *kmsg.OffsetFetchResponseGroupTopicPartition) {
		if !left.Load() {
			return
		}
		p.Offset, p.ErrorCode = 1, 0
		select {
		case asked <- struct{}{}:
		default:
		}
	})
	gone, theirs := r.enter(1, 0, 1, value(2)), o.enter(r, 0, 1, value(3))
	b := r.both(gone.claim, theirs.claim, 4)
	r.await("the transaction has ended", ended)
	o.away.Store(kerr.CoordinatorNotAvailable)
	r.leaves()
	left.Store(true)
	r.await("its outcome is asked for", asked)
	r.until("it is asked for again, or believed", func() bool { return o.asked.Load() > 1 || b.fate(1) != nil })
	o.away.Store(nil)
	if fates := b.await(); !errors.Is(fates[0], txn.ErrMemberGone) || !errors.Is(fates[1], errCommitted) {
		t.Errorf("%v", fates)
	}
	r.check(2, map[int32]int64{})
}

// The offsets of a group contradict each other, as only somebody else's commits can have it: what
// the transaction had is given up, for its consumers to begin where their groups stand, and the
// lane goes on.
func TestCommittedInPart(t *testing.T) {
	r := newRig(t)
	o := r.withAnother()
	r.abortsUnknown()
	r.tells("g", func(partition int32, p *kmsg.OffsetFetchResponseGroupTopicPartition) {
		p.Offset, p.ErrorCode = int64(1-partition), 0
	})
	one, two := r.enter(1, 0, 1, value(2)), r.enter(2, 0, 1, value(3))
	for i, err := range r.both(one.claim, two.claim, 4).await() {
		if !errors.Is(err, txn.ErrMemberGone) {
			t.Errorf("unit %d: %v", i, err)
		}
	}
	o.push(r, 0, 1, value(5)).allCommitted()
	select {
	case err := <-r.gone:
		if !errors.Is(err, txn.ErrMemberGone) {
			t.Error(err)
		}
	default:
		t.Error("its consumer has not heard of it")
	}
	r.check(2, map[int32]int64{})
}

// A group that may not be read any more, and nobody else tells how a transaction ended: what it had
// is given up, and the lane goes on for the others.
func TestOutcomeThatNobodyMayRead(t *testing.T) {
	for _, why := range []*kerr.Error{kerr.GroupAuthorizationFailed, kerr.TopicAuthorizationFailed} {
		t.Run(why.Message, func(t *testing.T) {
			r := newRig(t)
			o := r.withAnother()
			r.losesTheEnd()
			r.tells("g", func(_ int32, p *kmsg.OffsetFetchResponseGroupTopicPartition) { p.ErrorCode = why.Code })
			if err := r.push(1, 0, 1, value(1)).await()[0]; !errors.Is(err, txn.ErrMemberGone) || !errors.Is(err, why) {
				t.Errorf("%v", err)
			}
			o.push(r, 0, 1, value(2)).allCommitted()
			r.check(4, map[int32]int64{0: 1})
		})
	}
}
