package txn_test

import (
	"bytes"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/assignment"
	"github.com/ackmark/ackmark/internal/txn"
)

// large is a record that the client takes for no batch, and refuses by itself.
func large(_, j int) []byte {
	if j > 0 {
		return nil
	}
	return bytes.Repeat([]byte{'x'}, 2<<20)
}

// A window that is aborted before its offsets went out is not judged by what its predecessor's were
// told.
func TestRefusalsAreOfTheirWindow(t *testing.T) {
	r := newRig(t)
	r.lane.Close()
	r.lane = r.newLane(func(cfg *txn.Config) { cfg.Bytes = 8 << 20 }) // the window with the large record is not full
	t.Cleanup(r.lane.Close)
	r.push(1, 0, 1, value(0)).allCommitted()
	r.refuseFrom(0, 1, kerr.UnknownTopicID)
	a, b := r.enter(1, 1, 5, value(1)), r.enter(2, 0, 1, value(2))
	poison, after := r.enter(1, 6, 1, large), r.enter(2, 1, 5, value(3))
	b.onFate = func() { // in the middle of the abort: they are in the next window
		r.lane.Push(txn.Run{Batch: a, From: 0, To: 5})
		r.lane.Push(txn.Run{Batch: after, From: 0, To: 5})
		r.lane.Push(txn.Run{Batch: poison, From: 0, To: 1})
	}
	r.lane.Push(txn.Run{Batch: b, From: 0, To: 1})
	var ofOffset *txn.OffsetError
	if err := b.await()[0]; !errors.As(err, &ofOffset) {
		t.Errorf("the unit whose offset is refused: %v", err)
	}
	if err := poison.await()[0]; !errors.Is(err, kerr.MessageTooLarge) {
		t.Errorf("the unit whose record is refused: %v", err)
	}
	a.allCommitted()
	after.allCommitted()
}

// A consumer that its group did not know is a member again, of another id, when that is found out:
// what it holds now is not given up, and it is not told to join again.
func TestMemberGoneIsBackAlready(t *testing.T) {
	r := newRig(t)
	old := r.member
	old.MemberID = "one of before"
	r.claims = r.newClaims()
	of := txn.Holder{Group: "g"}
	r.claims.Assign(of, old, []txn.Added{r.added(3, 0)})
	var once sync.Once
	r.cluster.ControlKey(int16(kmsg.TxnOffsetCommit), func(kmsg.Request) (kmsg.Response, error, bool) {
		once.Do(func() { r.claims.Assign(of, r.member, []txn.Added{r.added(4, 1)}) })
		return nil, nil, false
	})
	u := r.push(3, 0, 5, value(1))
	for i, err := range u.await() {
		if !errors.Is(err, txn.ErrMemberGone) {
			t.Errorf("unit %d: %v", i, err)
		}
	}
	select {
	case err := <-r.gone:
		t.Errorf("told %v", err)
	default:
	}
	r.push(4, 0, 5, value(2)).allCommitted()
	r.check(10, map[int32]int64{1: 5})
}

// Parked units of several claims wait for a newer membership; when one of the claims is released,
// and not the first one, they are looked at again: nobody waits for a membership that never comes.
func TestParkedAndReleased(t *testing.T) {
	r := newRig(t)
	stale := r.member
	stale.Generation = -1 // never tried again by itself
	r.claims = r.newClaims()
	r.claims.Assign(txn.Holder{Group: "g"}, stale, []txn.Added{r.added(3, 0), r.added(4, 1)})
	one, two := r.enter(3, 0, 1, value(1)), r.enter(4, 0, 1, value(1))
	b := &twoClaims{units: &units{r: r, value: value(1), fates: make([]error, 2), left: 2, done: make(chan struct{})}, claims: [2]*txn.Claim{one.claim, two.claim}}
	r.lane.Push(txn.Run{Batch: b, From: 0, To: 2})
	r.awaitAbort()
	leaving, _ := r.claims.Release([]uint64{4})
	r.lane.Flush()
	select {
	case <-leaving.Done():
	case <-time.After(limit):
		t.Fatal("the release waits for ever")
	}
	if err := b.fate(1); !errors.Is(err, errDropped) {
		t.Errorf("the unit of what was released: %v", err)
	}
}

// twoClaims is a batch of two units, each of its own claim.
type twoClaims struct {
	*units
	claims [2]*txn.Claim
}

func (b *twoClaims) Unit(i int) txn.Unit { return txn.Unit{Claim: b.claims[i]} }

// A generation that is refused when what was asked for under it is released meanwhile: under a
// newer one, all of it is committed in order; under that one, none of it is, not even what comes
// behind.
func TestRefusedAndReleased(t *testing.T) {
	for name, want := range map[string]error{"under a newer membership": errCommitted, "under the refused one": errDropped} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			asked := r.member
			if errors.Is(want, errCommitted) {
				asked.Generation--
			}
			r.claims = r.newClaims()
			of := txn.Holder{Group: "g"}
			r.claims.Assign(of, asked, []txn.Added{r.added(3, 0)})
			first, behind := r.enter(3, 0, 5, value(1)), r.enter(3, 5, 5, value(2))
			var begun atomic.Bool
			r.cluster.ControlKey(int16(kmsg.TxnOffsetCommit), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
				if begun.Swap(true) {
					return nil, nil, false
				}
				r.claims.Assign(of, r.member, nil)
				r.claims.Release([]uint64{3})
				r.lane.Push(txn.Run{Batch: behind, From: 0, To: 5})
				if errors.Is(want, errCommitted) {
					return nil, nil, false // the broker refuses it
				}
				return refusedAs(kreq, kerr.RebalanceInProgress), nil, true
			})
			r.lane.Push(txn.Run{Batch: first, From: 0, To: 5})
			for i, err := range append(first.await(), behind.await()...) {
				if !errors.Is(err, want) {
					t.Errorf("unit %d: %v", i, err)
				}
			}
			if errors.Is(want, errCommitted) {
				r.check(20, map[int32]int64{0: 10})
			} else {
				r.check(0, map[int32]int64{})
			}
		})
	}
}

// A record fails while the transaction is busy: what was said of that is not the unit's fault.
func TestBusyTransactionIsNobodysFault(t *testing.T) {
	r := newRig(t)
	r.skipsUnderRace()
	r.lane.Close()
	r.lane = r.newLane(func(cfg *txn.Config) { cfg.Shared = true })
	t.Cleanup(r.lane.Close)
	answered := make(chan struct{})
	var once sync.Once
	var refused, ended atomic.Bool
	r.cluster.ControlKey(int16(kmsg.TxnOffsetCommit), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		r.cluster.KeepControl()
		if ended.Load() {
			return nil, nil, false
		}
		once.Do(func() { close(answered) })
		return refusedAs(kreq, kerr.ConcurrentTransactions), nil, true
	})
	r.cluster.ControlKey(int16(kmsg.Produce), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		r.cluster.KeepControl()
		if refused.Swap(true) {
			return nil, nil, false
		}
		r.cluster.SleepControl(func() { <-answered })
		resp := kreq.ResponseKind().(*kmsg.ProduceResponse)
		for _, rt := range kreq.(*kmsg.ProduceRequest).Topics {
			st := kmsg.NewProduceResponseTopic()
			st.Topic, st.TopicID = rt.Topic, rt.TopicID
			for _, rp := range rt.Partitions {
				sp := kmsg.NewProduceResponseTopicPartition()
				sp.Partition, sp.ErrorCode = rp.Partition, kerr.TransactionAbortable.Code
				st.Partitions = append(st.Partitions, sp)
			}
			resp.Topics = append(resp.Topics, st)
		}
		return resp, nil, true
	})
	r.cluster.ControlKey(int16(kmsg.EndTxn), func(kmsg.Request) (kmsg.Response, error, bool) {
		r.cluster.KeepControl()
		ended.Store(true)
		return nil, nil, false
	})
	u := r.push(1, 0, 1, value(1))
	u.allCommitted()
	if n := r.lane.Stats().Aborted; n != 1 {
		t.Errorf("%d windows were aborted, want the one whose record failed", n)
	}
	r.check(2, map[int32]int64{0: 1})
}

// refusedAs is the answer to a TxnOffsetCommit that takes none of its partitions.
func refusedAs(kreq kmsg.Request, why *kerr.Error) kmsg.Response {
	resp := kreq.ResponseKind().(*kmsg.TxnOffsetCommitResponse)
	for _, rt := range kreq.(*kmsg.TxnOffsetCommitRequest).Topics {
		st := kmsg.NewTxnOffsetCommitResponseTopic()
		st.Topic, st.TopicID = rt.Topic, rt.TopicID
		for _, rp := range rt.Partitions {
			sp := kmsg.NewTxnOffsetCommitResponseTopicPartition()
			sp.Partition, sp.ErrorCode = rp.Partition, why.Code
			st.Partitions = append(st.Partitions, sp)
		}
		resp.Topics = append(resp.Topics, st)
	}
	return resp
}

// An answer to EndTxn that does not come: Close waits for it a little, and not for ever.
func TestCloseIsBounded(t *testing.T) {
	r := newRig(t)
	r.push(1, 0, 5, value(1)).allCommitted()
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	sent := make(chan struct{})
	var once sync.Once
	r.cluster.ControlKey(int16(kmsg.EndTxn), func(kmsg.Request) (kmsg.Response, error, bool) {
		r.cluster.KeepControl()
		once.Do(func() { close(sent) })
		r.cluster.SleepControl(func() { <-over })
		return nil, nil, false
	})
	u := r.push(1, 5, 5, value(2))
	<-sent
	closed := make(chan struct{})
	go func() { r.lane.Close(); close(closed) }()
	select {
	case <-closed:
	case <-time.After(olderTimeout / 2):
		t.Fatal("Close waits for an answer that does not come")
	}
	if s := r.lane.Stats(); s.Unknown != 1 || s.Aborted > 0 {
		t.Errorf("%+v: nobody knows whether it is committed", s)
	}
	for i, err := range u.await() {
		if !errors.Is(err, txn.ErrClosed) {
			t.Errorf("unit %d: %v", i, err)
		}
	}
}

// What the coordinator says to EndTxn is about a request that it got: that it can only be aborted
// is found out, not believed.
func TestAbortableEndIsLookedAt(t *testing.T) {
	r := newRig(t)
	said := 0
	r.cluster.ControlKey(int16(kmsg.EndTxn), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		r.cluster.KeepControl()
		if said++; said != 1 {
			return nil, nil, false
		}
		resp := kreq.ResponseKind().(*kmsg.EndTxnResponse)
		resp.ErrorCode = kerr.TransactionAbortable.Code
		return resp, nil, true
	})
	r.push(1, 0, 5, value(1)).allCommitted()
	r.check(10, map[int32]int64{0: 5})
	if s := r.lane.Stats(); s.Unknown != 1 {
		t.Errorf("%+v", s)
	}
}

// A topic that does not exist is found out before the window: its unit fails, and nobody's
// transaction is aborted by it. When it is there, its units are taken.
func TestNoSuchTopic(t *testing.T) {
	r := newRig(t)
	r.push(1, 0, 5, value(1)).allCommitted()
	for i := range 3 {
		u := r.enter(1, 5+i, 1, value(2))
		u.topic = "oot"
		r.lane.Push(txn.Run{Batch: u, From: 0, To: 1})
		var of *txn.RecordError
		if err := u.await()[0]; !errors.Is(err, kerr.UnknownTopicOrPartition) || !errors.As(err, &of) || of.Topic != "oot" {
			t.Errorf("unit %d: %v", i, err)
		}
		r.push(1, 5+i, 1, value(3+i)).allCommitted() // its dead letter
	}
	if s := r.lane.Stats(); s.Aborted > 0 {
		t.Errorf("%+v", s)
	}
	if err := r.cluster.CreateTopic("new", 1, nil); err != nil {
		t.Fatal(err)
	}
	u := r.enter(1, 8, 1, value(9))
	u.topic = "new"
	r.lane.Push(txn.Run{Batch: u, From: 0, To: 1})
	u.allCommitted()
	r.check(16, map[int32]int64{0: 9})
}

// A reader has passed control records behind its last input when it hears that this one is
// committed, and the lane is about to count it as decided: the offset behind them is committed all
// the same.
func TestCrossedAtTheEnd(t *testing.T) {
	r := newRig(t)
	u := r.enter(1, 0, 5, value(1))
	var due bool
	u.onFate = func() { _, due = r.claims.Crossed(1, 8) }
	r.lane.Push(txn.Run{Batch: u, From: 0, To: 5})
	u.allCommitted()
	r.until("the offset behind the control records is committed", func() bool { return r.committed()[0] == 8 })
	if due {
		t.Error("it was due at once: nothing was tested")
	}
	r.check(10, map[int32]int64{0: 8})
}

// added is an assignment of a partition.
func (r *rig) added(epoch uint64, partition int32) txn.Added {
	core := assignment.New(assignment.Spec{TopicID: r.topicID, Committed: -1, Limit: 1 << 12})
	return txn.Added{Epoch: epoch, Topic: "in", TopicID: r.topicID, Partition: partition, Core: core}
}
