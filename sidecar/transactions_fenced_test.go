package sidecar_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// refusing has the broker refuse the offsets of the next transactions, as often as it is told, and
// tells how often that is left.
func (b *bubble) refusing(times int64, why *kerr.Error) (left func() int64) {
	var n atomic.Int64
	n.Store(times)
	b.kafka.ControlKey(int16(kmsg.TxnOffsetCommit), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		b.kafka.KeepControl()
		if n.Load() == 0 {
			return nil, nil, false
		}
		n.Add(-1)
		return refusedAs(kreq.(*kmsg.TxnOffsetCommitRequest), why), nil, true
	})
	return n.Load
}

// refusedAs is the answer to a TxnOffsetCommit that takes none of its partitions.
func refusedAs(req *kmsg.TxnOffsetCommitRequest, why *kerr.Error) kmsg.Response {
	resp := kmsg.NewPtrTxnOffsetCommitResponse()
	resp.Version = req.GetVersion()
	for _, t := range req.Topics {
		rt := kmsg.NewTxnOffsetCommitResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			rp := kmsg.NewTxnOffsetCommitResponseTopicPartition()
			rp.Partition, rp.ErrorCode = p.Partition, why.Code
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

// fencedTimes waits until the client was told so often that its group does not know its member.
func (m *mortal) fencedTimes(n int) {
	m.t.Helper()
	defer time.AfterFunc(time.Minute, m.cancel).Stop()
	if err := m.until(func() bool { return len(m.fenced) >= n }); err != nil || len(m.fenced) != n {
		m.t.Fatalf("told %d times, want %d: %v", len(m.fenced), n, err)
	}
}

// A consumer that was told that its group does not know its member begins anew under the membership
// that it has: it may be within a rebalance. When that is refused, too, it is told again, since
// nothing of what it has begun with will be committed.
func TestAMemberThatIsRefusedTwice(t *testing.T) {
	inTransactions(t, nil, func(t *testing.T, b *bubble) {
		m := b.mortal(t, "s", "", exactlyOnce)
		b.refusing(2, kerr.UnknownMemberID)
		for n := range 2 {
			epoch := uint64(n + 1)
			m.assignAs(b.part(t, epoch))
			list := from(0, 1)
			for i := range list {
				list[i].src.Epoch = epoch
			}
			first := m.units(list...)
			m.reported(2 * (n + 1))
			if code := m.failed[first].GetError().GetCode(); code != wire.CodeMemberFenced {
				t.Errorf("a unit of epoch %d failed with %q", epoch, code)
			}
			m.fencedTimes(n + 1)
		}
		b.want(t, -1, 0)
	})
}

// A member is refused when nothing but what lies behind its last input is to be committed: it is
// told, since nothing of what comes next will be.
func TestAMemberThatIsRefusedWithoutAUnit(t *testing.T) {
	inTransactions(t, nil, func(t *testing.T, b *bubble) {
		m := b.mortal(t, "s", "", exactlyOnce)
		m.assignAs(b.part(t, 1))
		m.units(from(0, 1)...)
		m.reported(2)
		b.refusing(1, kerr.UnknownMemberID)
		m.crossed(1, 5)
		m.fencedTimes(1)
		b.want(t, 2, 2)
	})
}

func (m *mortal) crossed(epoch uint64, offset int64) {
	m.send(&sidecarpb.DeliveryStreamRequest{Kind: &sidecarpb.DeliveryStreamRequest_Crossed{Crossed: &sidecarpb.Crossed{Epoch: epoch, Offset: offset}}})
}

// The stream breaks with what a client was to be told on it: that its group does not know its
// member. On the next one it says what it holds, and is told.
func TestAMemberThatIsRefusedWithoutAStream(t *testing.T) {
	inTransactions(t, nil, func(t *testing.T, b *bubble) {
		m := b.mortal(t, "s", "", exactlyOnce)
		m.assignAs(b.part(t, 1))
		left := b.refusing(1, kerr.UnknownMemberID)
		m.units(from(0, 1)...)
		for left() > 0 {
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(300 * time.Millisecond) // nobody reads what is sent
		m.cancel()
		time.Sleep(10 * time.Millisecond)
		m.connect(t, &sidecarpb.Hello{SessionId: "s", PreviousSidecarId: m.welcome.GetSidecarId(), Unreported: []*sidecarpb.Range{{First: 1, Count: 2}}})
		if !m.welcome.GetResumed() {
			t.Fatal("the session does not go on: nothing is tested")
		}
		m.assignAs(b.part(t, 1))
		m.fencedTimes(1)
	})
}

// What lies behind the last input is still in a transaction when its partition is released: the
// answer waits for the end, since the next owner reads what is committed by then.
func TestReleaseWaitsForWhatWasCrossed(t *testing.T) {
	inTransactions(t, nil, func(t *testing.T, b *bubble) {
		m := b.mortal(t, "s", "", exactlyOnce)
		m.assignAs(b.part(t, 1))
		m.units(from(0, 1)...)
		m.reported(2)
		ends, let := b.held(kmsg.EndTxn)
		m.crossed(1, 5)
		for ends.Load() == 0 {
			time.Sleep(10 * time.Millisecond)
		}
		m.release(7, 1)
		heard := make(chan error, 1)
		go func() { heard <- m.until(func() bool { return m.released[7] }) }()
		synctest.Wait()
		select {
		case <-heard:
			let()
			t.Fatal("released while its offset was in a transaction")
		default:
		}
		let()
		if err := <-heard; err != nil {
			t.Error(err)
		}
		b.want(t, 5, 2)
	})
}
