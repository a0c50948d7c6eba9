package txn_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/txn"
)

// The offset of a partition cannot be committed: its units fail, and with them those that are in
// hand behind them. They would be seen before what their partition halts at.
func TestUnitsBehindARefusedOffset(t *testing.T) {
	r := newRig(t)
	r.push(1, 0, 1, value(0)).allCommitted()
	first, other := r.enter(1, 1, 1, value(1)), r.enter(2, 0, 1, value(2))
	var behind []*units
	for i := range 3 {
		behind = append(behind, r.enter(1, 2+i, 1, value(3+i)))
	}
	next := r.enter(1, 5, 1, value(9))
	first.onFate = func() { r.lane.Push(txn.Run{Batch: next, From: 0, To: 1}) } // its sender knows: this one is in order
	r.cluster.ControlKey(int16(kmsg.TxnOffsetCommit), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		for _, u := range behind {
			r.lane.Push(txn.Run{Batch: u, From: 0, To: 1})
		}
		resp := refusedAs(kreq, kerr.UnknownTopicID).(*kmsg.TxnOffsetCommitResponse)
		for i := range resp.Topics[0].Partitions {
			if p := &resp.Topics[0].Partitions[i]; p.Partition != 0 {
				p.ErrorCode = 0
			}
		}
		return resp, nil, true
	})
	r.lane.Push(txn.Run{Batch: first, From: 0, To: 1})
	r.lane.Push(txn.Run{Batch: other, From: 0, To: 1})
	var ofOffset *txn.OffsetError
	for i, u := range append(behind, first) {
		if err := u.await()[0]; !errors.As(err, &ofOffset) {
			t.Errorf("unit %d: %v", i, err)
		}
	}
	other.allCommitted()
	next.allCommitted()
}

// A holder whose generation was refused again and again is looked at again later each time. When it
// lets its partitions go, it does not wait for that.
func TestReleaseDoesNotWaitForItsTurn(t *testing.T) {
	r := newRig(t)
	wrong := r.member
	wrong.Generation += 1000
	r.claims = r.newClaims()
	of := txn.Holder{Group: "g"}
	r.claims.Assign(of, wrong, []txn.Added{r.added(3, 1)})
	u := r.push(3, 0, 1, value(1))
	for n := range int64(6) {
		r.until("a window was aborted", func() bool { return r.lane.Stats().Aborted > n })
		wrong.Generation++
		r.claims.Assign(of, wrong, nil)
		r.lane.Wake()
	}
	r.until("a window was aborted", func() bool { return r.lane.Stats().Aborted > 6 })
	begun := time.Now()
	leaving, _ := r.claims.Release([]uint64{3})
	r.lane.Flush()
	<-leaving.Done()
	if d := time.Since(begun); d > 2*time.Second {
		t.Errorf("it waited %v", d)
	}
	if err := u.await()[0]; !errors.Is(err, errDropped) {
		t.Error(err)
	}
}

// Of a session that has ended nothing is kept, also when a generation of it was refused.
func TestNothingIsKeptOfAnEndedSession(t *testing.T) {
	r := newRig(t)
	wrong := r.member
	wrong.Generation++
	mine := r.claims
	r.claims = r.newClaims()
	r.claims.Assign(txn.Holder{Group: "g"}, wrong, []txn.Added{r.added(3, 1)})
	u := r.push(3, 0, 1, value(1))
	r.awaitAbort()
	r.claims.Close()
	r.lane.Forget()
	if err := u.await()[0]; !errors.Is(err, errDropped) {
		t.Error(err)
	}
	r.claims = mine
	r.push(1, 0, 1, value(2)).allCommitted()
	r.lane.Close()
	if n := r.lane.StaleHolders(); n > 0 {
		t.Errorf("%d holders are kept", n)
	}
}

// Of several partitions whose offsets are refused each is told its own error, and no other's.
func TestEachRefusedOffsetHasItsError(t *testing.T) {
	r := newRig(t)
	want := map[int32]*kerr.Error{0: kerr.OffsetMetadataTooLarge, 1: kerr.UnknownTopicID}
	r.cluster.ControlKey(int16(kmsg.TxnOffsetCommit), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		resp := refusedAs(kreq, kerr.UnknownTopicID).(*kmsg.TxnOffsetCommitResponse)
		for i := range resp.Topics[0].Partitions {
			p := &resp.Topics[0].Partitions[i]
			p.ErrorCode = want[p.Partition].Code
		}
		return resp, nil, true
	})
	units := map[int32]*units{0: r.enter(1, 0, 1, value(1)), 1: r.enter(2, 0, 1, value(2))}
	for _, u := range units {
		r.lane.Push(txn.Run{Batch: u, From: 0, To: 1})
	}
	for p, u := range units {
		err := u.await()[0]
		if of, ok := errors.AsType[*txn.OffsetError](err); !ok || of.Partition != p || !errors.Is(err, want[p]) && !errors.Is(of.Err, want[p]) {
			t.Errorf("partition %d: %v", p, err)
		}
		if strings.Contains(err.Error(), fmt.Sprintf("partition %d", 1-p)) {
			t.Errorf("partition %d is told of the other: %v", p, err)
		}
	}
}
