package txn_test

import (
	"math"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// atItsLastEpoch has the rig's lane hold an id at the last epoch of its producer.
func (r *rig) atItsLastEpoch(id string) {
	r.t.Helper()
	r.atEpoch(id, math.MaxInt16-1)
}

// atEpoch has the rig's lane hold an id at this epoch.
func (r *rig) atEpoch(id string, at int16) {
	r.t.Helper()
	r.lane.Close()
	got, err := r.admin.DescribeTransactions(r.t.Context(), id)
	if err != nil {
		r.t.Fatal(err)
	}
	pid, epoch := got[id].ProducerID, got[id].ProducerEpoch
	cl := r.client()
	for epoch < at-1 { // the lane's own taking is the last step
		req := kmsg.NewPtrInitProducerIDRequest()
		req.TransactionalID, req.TransactionTimeoutMillis, req.ProducerID, req.ProducerEpoch = &id, 1000, pid, epoch
		resp, err := req.RequestWith(r.t.Context(), cl)
		if err != nil || resp.ErrorCode != 0 || resp.ProducerEpoch != epoch+1 {
			r.t.Fatal(err, resp)
		}
		epoch++
	}
	r.lane = r.newLane()
	r.t.Cleanup(r.lane.Close)
	if got, err = r.admin.DescribeTransactions(r.t.Context(), id); err != nil || got[id].ProducerEpoch != at || got[id].ProducerID != pid {
		r.t.Fatal(err, got)
	}
}

// The markers of the transaction in which the epochs of a producer ran out cannot be written: the
// id is another producer's already, and its coordinator tells of the one before. Its id is set
// aside as any other, and is in use again when they are written.
func TestMarkersHoldAnIDBehindItsLastEpoch(t *testing.T) {
	r := newRig(t)
	begun := time.Now()
	r.atItsLastEpoch("id-0")
	t.Log("it took", time.Since(begun))
	s := r.stuck("id-0")
	r.push(1, 0, 2, value(1)).allCommitted() // id-0
	s.set("PrepareCommit")
	begun = time.Now()
	for i := range 6 {
		r.push(1, 2+i, 1, value(2+i)).allCommitted()
	}
	if d := time.Since(begun); d > olderTimeout/2 {
		t.Errorf("six windows took %v: they waited for the markers", d)
	}
	s.set("")
	before, i := s.count(), 8
	r.until("the id is in use again", func() bool {
		r.push(1, i, 1, value(i)).allCommitted()
		i++
		return s.count() > before
	})
	r.check(2*i, map[int32]int64{0: int64(i)})
}

// Nobody hears how the transaction ended in which the epochs ran out, and its markers cannot be
// written.
func TestEndBehindTheLastEpochIsUnknown(t *testing.T) {
	r := newRig(t)
	r.atItsLastEpoch("id-1")
	r.push(1, 0, 1, value(1)).allCommitted() // id-0
	s := r.stuck("id-1")
	var once sync.Once
	r.cluster.ControlKey(int16(kmsg.EndTxn), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		r.cluster.KeepControl()
		if req := kreq.(*kmsg.EndTxnRequest); req.TransactionalID == "id-1" {
			once.Do(func() {
				r.cut.Store(true)
				time.AfterFunc(0, func() { s.set("PrepareCommit") })
			})
		}
		return nil, nil, false
	})
	r.cut.Store(true)
	begun := time.Now()
	r.push(1, 1, 2, value(2)).allCommitted()
	if d := time.Since(begun); d > olderTimeout/2 {
		t.Errorf("it took %v", d)
	}
	r.push(1, 3, 1, value(3)).allCommitted()
	s.set("")
	before, i := s.count(), 4
	r.until("the id is in use again", func() bool {
		r.push(1, i, 1, value(i)).allCommitted()
		i++
		return s.count() > before
	})
	r.check(2*i, map[int32]int64{0: int64(i)})
	if st := r.lane.Stats(); st.Unknown != 1 || st.Aborted > 0 {
		t.Errorf("%+v", st)
	}
}

// The answer to the end of a transaction in the last epoch is lost: asked again, the coordinator
// tells the next producer, and there is nothing to find out.
func TestEndInTheLastEpochIsAskedForAgain(t *testing.T) {
	r := newRig(t)
	r.atItsLastEpoch("id-0")
	r.cut.Store(true)
	for i := range 4 { // both twins
		r.push(1, i, 1, value(i)).allCommitted()
	}
	r.check(8, map[int32]int64{0: 4})
	if st := r.lane.Stats(); st.Unknown > 0 || st.Aborted > 0 || st.Reinits > 0 {
		t.Errorf("%+v", st)
	}
}

// The answer to a taking that reaches the last epoch is lost. Asked once more under the epoch
// before, Kafka's coordinator has none to give (prepareIncrementProducerEpoch): it says
// UNKNOWN_SERVER_ERROR for ever. The id is taken anew then.
func TestTheLastEpochIsNotHeardOf(t *testing.T) {
	r := newRig(t)
	r.keep = 300 * time.Millisecond
	r.cutInit.Store(1)
	named := 0
	lost := make(chan struct{})
	r.cluster.ControlKey(int16(kmsg.InitProducerID), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		r.cluster.KeepControl()
		req := kreq.(*kmsg.InitProducerIDRequest)
		if *req.TransactionalID != "id-o0" || req.ProducerEpoch != math.MaxInt16-2 {
			return nil, nil, false
		}
		if named++; named == 1 {
			return nil, nil, false // its answer is cut off
		}
		if named == 2 {
			close(lost)
		}
		resp := req.ResponseKind().(*kmsg.InitProducerIDResponse)
		resp.ErrorCode = kerr.UnknownServerError.Code
		return resp, nil, true
	})
	r.cluster.ControlKey(int16(kmsg.EndTxn), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		r.cluster.KeepControl()
		if req := kreq.(*kmsg.EndTxnRequest); req.TransactionalID != "id-o0" || req.ProducerEpoch != math.MaxInt16-2 {
			return nil, nil, false
		}
		resp := kreq.ResponseKind().(*kmsg.EndTxnResponse)
		resp.ErrorCode = kerr.ProducerFenced.Code // kfake takes it for a retry
		return resp, nil, true
	})
	r.atEpoch("id-o0", math.MaxInt16-2)
	<-lost
	for i := range 3 {
		r.push(1, i, 1, none).allCommitted()
	}
	r.check(0, map[int32]int64{0: 3})
}
