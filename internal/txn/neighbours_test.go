package txn_test

import (
	"errors"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/groupcommit"
	"github.com/ackmark/ackmark/internal/txn"
)

// Who sends units that Kafka refuses, each as soon as the one before has failed, does not keep
// others from being committed: what was aborted is tried again without new units.
func TestTriedAgainAlone(t *testing.T) {
	r := newRig(t)
	r.lane.Close()
	r.lane = r.newLane(func(cfg *txn.Config) { cfg.Bytes = 64 << 20 })
	t.Cleanup(r.lane.Close)
	healthy := r.enter(1, 0, 1, value(1))
	const flood = 20
	var poison [flood]*units
	var failed, before atomic.Int32
	for i := range poison {
		poison[i] = r.enter(2, i, 1, large)
		poison[i].onFate = func() { // in the middle of the abort: what is pushed is there when the next window opens
			failed.Add(1)
			if i == 0 {
				r.lane.Push(txn.Run{Batch: healthy, From: 0, To: 1})
			}
			if i+1 < flood {
				r.lane.Push(txn.Run{Batch: poison[i+1], From: 0, To: 1})
			}
		}
	}
	healthy.onFate = func() { before.Store(failed.Load()) }
	r.lane.Push(txn.Run{Batch: poison[0], From: 0, To: 1})
	healthy.allCommitted()
	if n := before.Load(); n > 2 {
		t.Errorf("%d windows were aborted before it was committed", n)
	}
	for i, u := range poison {
		if err := u.await()[0]; !errors.Is(err, kerr.MessageTooLarge) {
			t.Errorf("poison %d: %v", i, err)
		}
	}
	r.check(2, map[int32]int64{0: 1})
}

// Units of who has no membership wait for one, and others are committed meanwhile.
func TestNoMembershipHoldsNobodyUp(t *testing.T) {
	r := newRig(t)
	nobody := r.newClaims()
	of := txn.Holder{Group: "g"}
	nobody.Assign(of, groupcommit.Member{Group: "g"}, []txn.Added{r.added(3, 1)})
	mine := r.claims
	r.claims = nobody
	waiting := r.push(3, 0, 1, value(1))
	r.claims = mine
	r.awaitAbort()
	r.push(1, 0, 5, value(2)).allCommitted()
	r.push(1, 5, 5, value(3)).allCommitted()
	if n := r.lane.Stats().Aborted; n != 1 {
		t.Errorf("%d windows were aborted for it, instead of the first", n)
	}
	nobody.Assign(of, r.member, nil)
	r.lane.Wake()
	waiting.allCommitted()
	r.check(22, map[int32]int64{0: 10, 1: 1})
}

// A coordinator that has refused a generation wrongly, and goes on with it, gets the units again:
// there is no newer one to wait for.
func TestSameGenerationIsTriedAgain(t *testing.T) {
	r := newRig(t)
	var healed atomic.Bool
	r.cluster.ControlKey(int16(kmsg.TxnOffsetCommit), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		r.cluster.KeepControl()
		if healed.Load() {
			return nil, nil, false
		}
		req := kreq.(*kmsg.TxnOffsetCommitRequest)
		resp := req.ResponseKind().(*kmsg.TxnOffsetCommitResponse)
		for _, t := range req.Topics {
			rt := kmsg.NewTxnOffsetCommitResponseTopic()
			rt.Topic, rt.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				rp := kmsg.NewTxnOffsetCommitResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p.Partition, kerr.RebalanceInProgress.Code
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	})
	u := r.push(1, 0, 5, value(1))
	r.awaitAbort()
	healed.Store(true)
	u.allCommitted()
	r.check(10, map[int32]int64{0: 5})
}

// An answer that refuses partitions which were not asked for refuses the request: somebody is to
// blame, or it would be sent for ever.
func TestRefusedForWhatWasNotAsked(t *testing.T) {
	r := newRig(t)
	r.cluster.ControlKey(int16(kmsg.TxnOffsetCommit), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		r.cluster.KeepControl()
		resp := kreq.ResponseKind().(*kmsg.TxnOffsetCommitResponse)
		rt := kmsg.NewTxnOffsetCommitResponseTopic()
		rt.Topic = "of somebody else"
		rp := kmsg.NewTxnOffsetCommitResponseTopicPartition()
		rp.Partition, rp.ErrorCode = 7, kerr.UnknownTopicOrPartition.Code
		rt.Partitions = append(rt.Partitions, rp)
		resp.Topics = append(resp.Topics, rt)
		return resp, nil, true
	})
	var ofOffset *txn.OffsetError
	if err := r.push(1, 0, 1, value(1)).await()[0]; !errors.As(err, &ofOffset) {
		t.Errorf("%v", err)
	}
}
