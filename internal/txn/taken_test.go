package txn_test

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/txn"
)

// younger marks the requests of a successor.
func younger(cfg *txn.Config) { cfg.Timeout = olderTimeout + time.Second }

func isOlder(req *kmsg.InitProducerIDRequest) bool {
	return time.Duration(req.TransactionTimeoutMillis)*time.Millisecond == olderTimeout
}

// takenInTwoSteps plays Kafka's coordinator where a successor's first InitProducerID meets an open
// transaction: that is aborted, at the next epoch, and the successor is to come again. begun is
// closed when the older lane looks for what became of its transaction. Until known is closed, the
// coordinator says what it says in between.
func (r *rig) takenInTwoSteps(id string) (begun, known chan struct{}) {
	r.skipsUnderRace()
	begun, known = make(chan struct{}), make(chan struct{})
	var first, once sync.Once
	var as atomic.Pointer[kmsg.EndTxnRequest]
	r.cluster.ControlKey(int16(kmsg.EndTxn), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		r.cluster.KeepControl()
		req := kreq.(*kmsg.EndTxnRequest)
		if req.TransactionalID == id {
			once.Do(func() {
				r.ended.Store(int32(req.ProducerEpoch))
				as.Store(&kmsg.EndTxnRequest{ProducerID: req.ProducerID, ProducerEpoch: req.ProducerEpoch})
				req.Commit = false // nobody hears of it: the second EndTxn is told INVALID_TXN_STATE
			})
		}
		return nil, nil, false
	})
	r.cluster.ControlKey(int16(kmsg.DescribeTransactions), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		r.cluster.KeepControl()
		req := kreq.(*kmsg.DescribeTransactionsRequest)
		ended := as.Load()
		if len(req.TransactionalIDs) != 1 || req.TransactionalIDs[0] != id || ended == nil {
			return nil, nil, false
		}
		select {
		case <-known:
			return nil, nil, false
		default:
		}
		first.Do(func() { close(begun) })
		resp := req.ResponseKind().(*kmsg.DescribeTransactionsResponse)
		s := kmsg.NewDescribeTransactionsResponseTransactionState()
		s.TransactionalID, s.ProducerID, s.ProducerEpoch, s.State = id, ended.ProducerID, ended.ProducerEpoch+1, "CompleteAbort"
		resp.TransactionStates = append(resp.TransactionStates, s)
		return resp, nil, true
	})
	return begun, known
}

// Who finds its id taken says by which producer epoch, not only its own.
func TestTakenByWhichEpoch(t *testing.T) {
	r := newRig(t)
	r.push(1, 0, 5, value(1)).allCommitted()
	older := r.lane
	before := r.epochs()
	r.lane = r.newLane(younger)
	t.Cleanup(r.lane.Close)
	after := r.epochs()
	u := r.enter(1, 5, 1, value(2))
	older.Push(txn.Run{Batch: u, From: 0, To: 1})
	err := u.await()[0]
	if !errors.Is(err, txn.ErrTaken) {
		t.Fatal(err)
	}
	for id, epoch := range after {
		if !strings.Contains(err.Error(), strconv.Quote(id)) {
			continue
		}
		if want := fmt.Sprintf("its producer epoch is %d by now, ours was %d ", epoch, before[id]); epoch == before[id] || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: want %q", err, want)
		}
		return
	}
	t.Errorf("%v names none of %v", err, after)
}

// epochs are those of the lane's ids.
func (r *rig) epochs() map[string]int16 {
	r.t.Helper()
	all, err := r.admin.DescribeTransactions(r.t.Context(), "id-0", "id-1", "id-o0", "id-o8")
	if err != nil {
		r.t.Fatal(err)
	}
	epochs := map[string]int16{}
	for id, s := range all {
		epochs[id] = s.ProducerEpoch
	}
	return epochs
}

// A successor has aborted the older lane's transaction, and its InitProducerID comes again. The
// older one lets it go first; and if the coordinator hears the older one's before, or after, the id
// is the successor's all the same.
func TestSuccessorIsNotRobbed(t *testing.T) {
	t.Run("it is let go first", func(t *testing.T) { successorIsNotRobbed(t, time.Hour) })
	t.Run("the older one is too late", func(t *testing.T) { successorIsNotRobbed(t, 0) })
}

func successorIsNotRobbed(t *testing.T, pause time.Duration) {
	r := newRigWith(t, pause)
	r.push(1, 0, 5, value(1)).allCommitted() // under id-0
	begun, known := r.takenInTwoSteps("id-1")
	came, asks := make(chan struct{}), make(chan struct{})
	var once, asking sync.Once
	hold := func(req *kmsg.InitProducerIDRequest) {
		if !isOlder(req) && *req.TransactionalID == "id-1" {
			once.Do(func() { close(known) }) // it looks at what it has taken
		}
		twin := !strings.Contains(*req.TransactionalID, "-o")
		if !isOlder(req) || pause > 0 && twin && req.ProducerID >= 0 {
			return
		}
		asking.Do(func() { close(asks) })
		<-came // or it has one of the others still, and robs the successor between two of its steps
		once.Do(func() { close(known) })
	}
	r.hold.Store(&hold)
	r.cut.Store(true)
	older := r.lane
	u := r.push(1, 5, 5, value(2))
	if <-begun; pause == 0 {
		<-asks
	}
	r.lane = r.newLane(younger)
	t.Cleanup(r.lane.Close)
	close(came)
	for i, err := range u.await() {
		if !errors.Is(err, txn.ErrTaken) {
			t.Errorf("unit %d: %v", i, err)
		}
	}
	r.awaitTaken()
	older.Close()
	r.claims = r.newClaims()
	r.assignAt(3, 0, 5)
	for i := range 4 { // both ids
		r.push(3, i, 1, value(10+i)).allCommitted()
	}
	r.check(10+8, map[int32]int64{0: 9})
	if s := r.lane.Stats(); s.Reinits > 0 {
		t.Errorf("the successor lost its ids: %+v", s)
	}
}

// The older process is stopped between the two steps of taking its id again, and wakes when its
// successor has everything. It robs it of the id, and commits nothing any more.
func TestRobberCommitsNothing(t *testing.T) {
	r := newRig(t)
	r.skipsUnderRace()
	r.push(1, 0, 5, value(1)).allCommitted() // under id-0
	u, stopped, wakes := r.retakesInTwoSteps()
	r.await("an InitProducerID is stopped", stopped)
	older := r.lane
	r.lane = r.newLane(younger)
	t.Cleanup(r.lane.Close)
	r.claims = r.newClaims()
	r.assignAt(3, 0, 5)
	r.push(3, 0, 5, value(2)).allCommitted() // what the older one has in hand
	close(wakes)
	for i, err := range u.await() {
		if !errors.Is(err, txn.ErrTaken) {
			t.Errorf("unit %d: %v", i, err)
		}
	}
	r.awaitTaken()
	older.Close()
	for i := range 4 { // both ids
		r.push(3, 5+i, 1, value(10+i)).allCommitted()
	}
	r.check(20+8, map[int32]int64{0: 14})
}

// The older process takes its id again while its successor has taken that one, and not all others:
// the successor finds out, and begins with all of them.
func TestRobbedAtTheBeginning(t *testing.T) {
	r := newRig(t)
	r.skipsUnderRace()
	r.push(1, 0, 5, value(1)).allCommitted() // under id-0
	u, stopped, wakes := r.retakesInTwoSteps()
	r.await("an InitProducerID is stopped", stopped)
	older, begun, robbed := r.lane, make(chan struct{}), make(chan struct{})
	var once sync.Once
	both := *r.hold.Load()
	hold := func(req *kmsg.InitProducerIDRequest) {
		if !isOlder(req) && *req.TransactionalID == "id-o0" {
			once.Do(func() { close(begun) })
			<-robbed
			return
		}
		both(req)
	}
	r.hold.Store(&hold)
	next := make(chan *txn.Lane)
	go func() { next <- r.newLane(younger) }()
	r.await("it is begun", begun)
	close(wakes)
	u.allCommitted() // nobody else has begun
	close(robbed)
	r.lane = <-next
	t.Cleanup(r.lane.Close)
	r.claims = r.newClaims()
	r.assignAt(3, 0, 10)
	for i := range 4 { // both ids
		r.push(3, i, 1, value(10+i)).allCommitted()
	}
	r.check(20+8, map[int32]int64{0: 14})
	if s := r.lane.Stats(); s.Reinits > 0 {
		t.Errorf("the successor lost its ids: %+v", s)
	}
	older.Close()
}

// An InitProducerID of ours comes late, or somebody else's by mistake: nobody has begun with the
// id, and the lane takes it again.
func TestAnIDTakenByNobody(t *testing.T) {
	for _, id := range []string{"id-0", "id-1", "id-o0", "id-o8"} {
		t.Run(id, func(t *testing.T) {
			r := newRig(t)
			r.takes(id)
			for i := range 4 { // both ids
				r.push(1, i, 1, value(i)).allCommitted()
			}
			for i := range 4 {
				r.push(1, 4+i, 1, none).allCommitted()
			}
			r.check(8, map[int32]int64{0: 8})
		})
	}
}

// The same as TestRobberCommitsNothing, of an id for windows without outputs.
func TestRobberOfABareIDCommitsNothing(t *testing.T) {
	r := newRig(t)
	r.skipsUnderRace()
	r.push(1, 0, 5, none).allCommitted()
	r.takes("id-o0")
	stopped, wakes := make(chan struct{}), make(chan struct{})
	var once sync.Once
	hold := func(req *kmsg.InitProducerIDRequest) {
		if isOlder(req) && req.ProducerID < 0 {
			once.Do(func() { close(stopped) })
			<-wakes
		}
	}
	r.hold.Store(&hold)
	older, u := r.lane, r.push(1, 5, 5, none)
	r.await("an InitProducerID is stopped", stopped)
	r.lane = r.newLane(younger)
	t.Cleanup(r.lane.Close)
	r.claims = r.newClaims()
	r.assignAt(3, 0, 5)
	r.push(3, 0, 9, none).allCommitted()
	close(wakes)
	for i, err := range u.await() {
		if !errors.Is(err, txn.ErrTaken) {
			t.Errorf("unit %d: %v", i, err)
		}
	}
	r.awaitTaken()
	older.Close()
	r.push(3, 9, 1, none).allCommitted()
	r.check(0, map[int32]int64{0: 15})
}

// Inputs without outputs are committed in transactions, too: a plain commit of the lane whose ids
// were taken would be fenced by nobody, and take the group back or on.
func TestTakenWithoutOutputs(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, r *rig) {
		var beside atomic.Int64
		r.cluster.ControlKey(int16(kmsg.OffsetCommit), func(kmsg.Request) (kmsg.Response, error, bool) {
			r.cluster.KeepControl()
			beside.Add(1)
			return nil, nil, false
		})
		r.push(1, 0, 5, none).allCommitted()
		older := r.lane
		r.lane = r.newLane()
		t.Cleanup(r.lane.Close)
		u := r.enter(1, 5, 5, none)
		older.Push(txn.Run{Batch: u, From: 0, To: 5})
		for i, err := range u.await() {
			if !errors.Is(err, txn.ErrTaken) {
				t.Errorf("unit %d: %v", i, err)
			}
		}
		r.check(0, map[int32]int64{0: 5})
		if n := beside.Load(); n > 0 {
			t.Errorf("%d commits in no transaction", n)
		}
		r.awaitTaken()
		r.push(1, 5, 5, none).allCommitted()
		r.check(0, map[int32]int64{0: 10})
	})
}

// takes is somebody's InitProducerID.
func (r *rig) takes(id string) {
	r.t.Helper()
	req := kmsg.NewPtrInitProducerIDRequest()
	req.TransactionalID, req.TransactionTimeoutMillis, req.ProducerID, req.ProducerEpoch = &id, int32(olderTimeout.Milliseconds()), -1, -1
	if resp, err := req.RequestWith(r.t.Context(), r.client()); err != nil || resp.ErrorCode != 0 {
		r.t.Fatal(err, resp)
	}
}

// The ids that would prove that nobody else has begun are refused for good, as without the right to
// them: that is no proof, and they are not asked for again and again.
func TestAnIDTakenAndNoRightToTheOthers(t *testing.T) {
	r := newRig(t)
	var asked atomic.Int32
	r.cluster.ControlKey(int16(kmsg.DescribeTransactions), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		r.cluster.KeepControl()
		req := kreq.(*kmsg.DescribeTransactionsRequest)
		if id := req.TransactionalIDs[0]; id != "id-o0" && id != "id-o8" {
			return nil, nil, false
		}
		asked.Add(1)
		resp := req.ResponseKind().(*kmsg.DescribeTransactionsResponse)
		s := kmsg.NewDescribeTransactionsResponseTransactionState()
		s.TransactionalID, s.ErrorCode = req.TransactionalIDs[0], kerr.TransactionalIDAuthorizationFailed.Code
		resp.TransactionStates = append(resp.TransactionStates, s)
		return resp, nil, true
	})
	r.takes("id-0")
	const often = 50
	u := r.push(1, 0, 1, value(1))
	r.until("it has ended, or asks on", func() bool { return r.lane.State() == txn.Fenced || asked.Load() > often })
	if n := asked.Load(); n > often {
		t.Fatalf("it has asked %d times", n)
	}
	if err := u.await()[0]; !errors.Is(err, txn.ErrTaken) {
		t.Error(err)
	}
	r.awaitTaken()
}

// A process takes each id that its predecessor may use, before it begins.
func TestTakesEachID(t *testing.T) {
	r := newRig(t)
	ids := []string{"id-0", "id-1", "id-o0", "id-o8"}
	before, err := r.admin.DescribeTransactions(t.Context(), ids...)
	if err != nil {
		t.Fatal(err)
	}
	l := r.newLane(younger)
	t.Cleanup(l.Close)
	after, err := r.admin.DescribeTransactions(t.Context(), ids...)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		was, is := before[id], after[id]
		if was.Err != nil || is.Err != nil || is.ProducerID != was.ProducerID || is.ProducerEpoch != was.ProducerEpoch+1 {
			t.Errorf("%s: was %+v, is %+v", id, was, is)
		}
	}
}

// endsUnknown has the next EndTxn answered by an error that says nothing of its outcome.
func (r *rig) endsUnknown() {
	said := 0
	r.cluster.ControlKey(int16(kmsg.EndTxn), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		r.cluster.KeepControl()
		if said++; said != 1 {
			return nil, nil, false
		}
		resp := kreq.ResponseKind().(*kmsg.EndTxnResponse)
		resp.ErrorCode = kerr.UnknownServerError.Code
		return resp, nil, true
	})
}

// retakesInTwoSteps has the answer to an EndTxn lost and its transaction aborted: the lane takes
// the id again, and its second step waits for wakes.
func (r *rig) retakesInTwoSteps() (u *units, stopped, wakes chan struct{}) {
	stopped, wakes = make(chan struct{}), make(chan struct{})
	r.endsUnknown()
	var once sync.Once
	hold := func(req *kmsg.InitProducerIDRequest) {
		if isOlder(req) && req.ProducerID < 0 {
			once.Do(func() { close(stopped) })
			<-wakes
		}
	}
	r.hold.Store(&hold)
	return r.push(1, 5, 5, value(2)), stopped, wakes
}

// Nobody follows: the transaction was aborted by its timeout. The lane takes its id again, and
// commits the units.
func TestTimedOut(t *testing.T) {
	r := newRig(t)
	r.push(1, 0, 5, value(1)).allCommitted()
	begun, known := r.takenInTwoSteps("id-1")
	var once sync.Once
	hold := func(req *kmsg.InitProducerIDRequest) {
		once.Do(func() {
			if int32(req.ProducerEpoch) != r.ended.Load()+1 {
				t.Errorf("it names epoch %d: a coordinator that has moved knows only the one that it shows, %d", req.ProducerEpoch, r.ended.Load()+1)
			}
			close(known)
		})
	}
	r.hold.Store(&hold)
	r.cut.Store(true)
	u := r.push(1, 5, 5, value(2))
	r.await("it is begun", begun)
	u.allCommitted()
	r.check(20, map[int32]int64{0: 10})
}

// The answer to an InitProducerID that the client sends by itself is lost, again and again: the
// epoch has moved by our own hand, and the lane does not take itself for another process.
func TestOwnInitIsOurs(t *testing.T) {
	r := newRig(t)
	r.push(1, 0, 5, value(1)).allCommitted()
	r.endsUnknown()
	r.cutInit.Store(1)
	r.push(1, 5, 5, value(2)).allCommitted()
	r.check(20, map[int32]int64{0: 10})
	if r.cutInit.Load() != 0 {
		t.Error("no answer was lost")
	}
	select {
	case err := <-r.over:
		t.Errorf("it ended with %v", err)
	default:
	}
}
