package txn_test

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/txn"
)

var allIDs = []string{"id-0", "id-1", "id-o0", "id-o8"}

// expire has the coordinator forget every id that is not in a transaction.
func (r *rig) expire() {
	r.t.Helper()
	set := func(ms string) {
		const name = "transactional.id.expiration.ms"
		if _, err := r.admin.AlterBrokerConfigs(r.t.Context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: name, Value: &ms}}); err != nil {
			r.t.Fatal(err)
		}
	}
	set("1")
	defer set("604800000")
	r.until("the ids expire", func() bool {
		r.takes("of somebody else") // it looks for what has expired
		got, err := r.admin.DescribeTransactions(r.t.Context(), allIDs...)
		if err != nil {
			r.t.Fatal(err)
		}
		for _, id := range allIDs {
			if !errors.Is(got[id].Err, kerr.TransactionalIDNotFound) {
				return false
			}
		}
		return true
	})
}

// A process is stopped with units in hand for so long that its successor has begun, committed some
// of them, ended, and is forgotten, too. What it knew of its ids is forgotten with that: it must
// not commit them once more.
func TestExpiredIDsProveNothing(t *testing.T) {
	for name, out := range map[string]func(int) func(int, int) []byte{
		"with outputs": value, "without": func(int) func(int, int) []byte { return none },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.expiresInHand(out, r.endsUnknown)
		})
	}
}

// The same, while the Kafka client takes its id again by itself, after what it was told of records.
func TestExpiredIDThatTheClientTakesAgain(t *testing.T) {
	r := newRig(t)
	r.expiresInHand(value, func() { r.refusesRecords(kerr.UnknownProducerID) })
}

// expiresInHand plays it: by what disturbs the lane it has to take an id again.
func (r *rig) expiresInHand(out func(int) func(int, int) []byte, disturb func()) {
	t := r.t
	t.Helper()
	r.skipsUnderRace()
	for i := range 5 { // their epochs are not the first ones any more: kfake has no other producer ids
		r.push(1, i, 1, out(10+i)).allCommitted()
	}
	disturb()
	stopped, wakes := make(chan struct{}), make(chan struct{})
	var once sync.Once
	hold := func(req *kmsg.InitProducerIDRequest) {
		if isOlder(req) && req.ProducerID >= 0 {
			once.Do(func() { close(stopped) })
			<-wakes
		}
	}
	r.hold.Store(&hold)
	older, u := r.lane, r.push(1, 5, 5, out(2))
	r.await("an InitProducerID is stopped", stopped)
	r.lane = r.newLane(younger)
	t.Cleanup(r.lane.Close)
	r.claims = r.newClaims()
	r.assignAt(3, 0, 5)
	r.push(3, 0, 3, out(3)).allCommitted() // of what the older one has in hand
	r.lane.Close()
	r.expire()
	close(wakes)
	for i, err := range u.await() {
		if !errors.Is(err, txn.ErrTaken) {
			t.Fatalf("unit %d: %v", i, err)
		}
	}
	r.awaitTaken()
	older.Close()
	outputs := 0
	if out(1)(0, 0) != nil {
		outputs = 2*5 + 2*3
	}
	r.check(outputs, map[int32]int64{0: 8})
}

// refusesRecords has the next records refused.
func (r *rig) refusesRecords(as *kerr.Error) {
	said := 0
	r.cluster.ControlKey(int16(kmsg.Produce), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		r.cluster.KeepControl()
		if said++; said != 1 {
			return nil, nil, false
		}
		resp := kreq.ResponseKind().(*kmsg.ProduceResponse)
		for _, rt := range kreq.(*kmsg.ProduceRequest).Topics {
			st := kmsg.NewProduceResponseTopic()
			st.Topic, st.TopicID = rt.Topic, rt.TopicID
			for _, rp := range rt.Partitions {
				sp := kmsg.NewProduceResponseTopicPartition()
				sp.Partition, sp.ErrorCode = rp.Partition, as.Code
				st.Partitions = append(st.Partitions, sp)
			}
			resp.Topics = append(resp.Topics, st)
		}
		return resp, nil, true
	})
}

// The ids that prove that the others are ours are not let expire: a process that has had nothing to
// do for longer than that goes on.
func TestIdleForLongerThanIDsLive(t *testing.T) {
	r := newRig(t)
	r.lane.Close()
	r.keep = time.Millisecond
	r.lane = r.newLane()
	t.Cleanup(r.lane.Close)
	r.push(1, 0, 5, value(1)).allCommitted()
	epochs := func() (of [2]int16) {
		got, err := r.admin.DescribeTransactions(t.Context(), allIDs[2:]...)
		if err != nil {
			t.Fatal(err)
		}
		return [2]int16{got["id-o0"].ProducerEpoch, got["id-o8"].ProducerEpoch}
	}
	before := epochs()
	r.until("both are taken again", func() bool { e := epochs(); return e[0] > before[0]+1 && e[1] > before[1]+1 })
	r.forgets("id-0", "id-1")
	for i := range 4 { // both twins
		r.push(1, 5+i, 1, value(2+i)).allCommitted()
	}
	r.check(18, map[int32]int64{0: 9})
}

// Brokers that forget sooner than ids are kept: the lane asks for that, and keeps them in time.
func TestIDsAreKeptAsLongAsTheyLive(t *testing.T) {
	r := newRig(t)
	r.lane.Close()
	ms := "3000"
	if _, err := r.admin.AlterBrokerConfigs(t.Context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "transactional.id.expiration.ms", Value: &ms}}); err != nil {
		t.Fatal(err)
	}
	r.lane = r.newLane()
	t.Cleanup(r.lane.Close)
	r.push(1, 0, 5, value(1)).allCommitted()
	r.until("the twins expire", func() bool {
		r.takes("of somebody else") // it looks for what has expired
		got, err := r.admin.DescribeTransactions(t.Context(), allIDs...)
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range allIDs[2:] {
			if got[id].Err != nil {
				t.Fatal(got[id].Err)
			}
		}
		return got["id-0"].Err != nil && got["id-1"].Err != nil
	})
	for i := range 4 { // both twins
		r.push(1, 5+i, 1, value(2+i)).allCommitted()
	}
	r.check(18, map[int32]int64{0: 9})
}

// A lane whose ids have all expired ends, and says that it is that.
func TestThatIDsHaveExpiredIsSaid(t *testing.T) {
	r := newRig(t)
	for i := range 5 { // their epochs are not the first ones any more: kfake has no other producer ids
		r.push(1, i, 1, value(10+i)).allCommitted()
	}
	r.expire()
	for i, err := range r.push(1, 5, 1, value(1)).await() {
		if !errors.Is(err, txn.ErrTaken) || !strings.Contains(err.Error(), "transactional.id.expiration.ms") {
			t.Errorf("unit %d: %v", i, err)
		}
	}
	r.awaitTaken()
}

// An id that windows use does not expire by itself: it is not taken again for that, which may wait
// for its coordinator.
func TestUsedIDIsNotTakenAgain(t *testing.T) {
	r := newRig(t)
	r.lane.Close()
	r.keep = time.Second
	r.lane = r.newLane()
	t.Cleanup(r.lane.Close)
	var used, unused atomic.Int32
	hold := func(req *kmsg.InitProducerIDRequest) {
		switch {
		case req.ProducerID < 0:
		case *req.TransactionalID == "id-o0":
			used.Add(1)
		case *req.TransactionalID == "id-o8":
			unused.Add(1)
		}
	}
	r.hold.Store(&hold)
	i := 0
	r.until("the other one is taken again", func() bool {
		r.push(1, i, 1, none).allCommitted()
		i++
		return unused.Load() > 0
	})
	if n := used.Load(); n > 0 {
		t.Errorf("the one that is in use was taken again %d times", n)
	}
}

// The twins have expired, one of the other two ids is not as it was, as after an answer that was
// lost, and the coordinator of the last one does not answer for a while: that is not a no.
func TestIdleWhileACoordinatorIsAway(t *testing.T) {
	r := newRig(t)
	r.lane.Close()
	r.keep = 300 * time.Millisecond
	r.lane = r.newLane()
	t.Cleanup(r.lane.Close)
	r.push(1, 0, 5, value(1)).allCommitted()
	r.forgets("id-0", "id-1")
	var back atomic.Bool
	var away sync.Once
	r.cluster.ControlKey(int16(kmsg.DescribeTransactions), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		r.cluster.KeepControl()
		req := kreq.(*kmsg.DescribeTransactionsRequest)
		if len(req.TransactionalIDs) != 1 || req.TransactionalIDs[0] != "id-o8" || back.Load() {
			return nil, nil, false
		}
		away.Do(func() { time.AfterFunc(500*time.Millisecond, func() { back.Store(true) }) })
		resp := req.ResponseKind().(*kmsg.DescribeTransactionsResponse)
		s := kmsg.NewDescribeTransactionsResponseTransactionState()
		s.TransactionalID, s.ErrorCode = "id-o8", kerr.CoordinatorNotAvailable.Code
		resp.TransactionStates = append(resp.TransactionStates, s)
		return resp, nil, true
	})
	r.takes("id-o0")
	r.until("its coordinator is back", back.Load)
	for i := range 4 { // both twins
		r.push(1, 5+i, 1, value(2+i)).allCommitted()
	}
	r.check(18, map[int32]int64{0: 9})
}

// forgets has the coordinator know these ids no more, until they are taken as new ones.
func (r *rig) forgets(ids ...string) {
	gone := map[string]bool{}
	for _, id := range ids {
		gone[id] = true
	}
	r.cluster.ControlKey(int16(kmsg.DescribeTransactions), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		r.cluster.KeepControl()
		req := kreq.(*kmsg.DescribeTransactionsRequest)
		if len(req.TransactionalIDs) != 1 || !gone[req.TransactionalIDs[0]] {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.DescribeTransactionsResponse)
		s := kmsg.NewDescribeTransactionsResponseTransactionState()
		s.TransactionalID, s.ErrorCode = req.TransactionalIDs[0], kerr.TransactionalIDNotFound.Code
		resp.TransactionStates = append(resp.TransactionStates, s)
		return resp, nil, true
	})
	r.cluster.ControlKey(int16(kmsg.EndTxn), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		r.cluster.KeepControl()
		req := kreq.(*kmsg.EndTxnRequest)
		if !gone[req.TransactionalID] {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.EndTxnResponse)
		resp.ErrorCode = kerr.InvalidProducerIDMapping.Code
		return resp, nil, true
	})
	r.cluster.ControlKey(int16(kmsg.InitProducerID), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		r.cluster.KeepControl()
		if req := kreq.(*kmsg.InitProducerIDRequest); req.TransactionalID != nil && req.ProducerID < 0 {
			delete(gone, *req.TransactionalID)
		}
		return nil, nil, false
	})
}
