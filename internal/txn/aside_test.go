package txn_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/txn"
)

// stuckID plays a coordinator that has decided a transaction's end and cannot write its markers:
// the id refuses everything while it is on.
type stuckID struct {
	mu     sync.Mutex
	id     string
	state  string // what is told of it; "": nothing is stuck
	pid    int64
	epoch  int16
	writes int // of offsets under the id, that were let through
	asked  int // the group, for its offsets
	inits  int // of the id, since it is not stuck
}

func (s *stuckID) set(state string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = state
}

func (s *stuckID) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writes
}

func (s *stuckID) taken() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inits > 0
}

// stuck has the broker play it. Offsets are unstable meanwhile.
func (r *rig) stuck(id string) *stuckID {
	s := &stuckID{id: id}
	for _, key := range []kmsg.Key{kmsg.Produce, kmsg.TxnOffsetCommit, kmsg.EndTxn, kmsg.InitProducerID, kmsg.DescribeTransactions, kmsg.OffsetFetch} {
		r.cluster.ControlKey(int16(key), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
			r.cluster.KeepControl()
			s.mu.Lock()
			defer s.mu.Unlock()
			resp := s.answer(kreq)
			return resp, nil, resp != nil
		})
	}
	return s
}

func (s *stuckID) answer(kreq kmsg.Request) kmsg.Response {
	busy := kerr.ConcurrentTransactions
	switch req := kreq.(type) {
	case *kmsg.ProduceRequest:
		if req.TransactionID == nil || *req.TransactionID != s.id {
			return nil
		}
		if s.state == "" {
			return nil
		}
		resp := req.ResponseKind().(*kmsg.ProduceResponse)
		for _, t := range req.Topics {
			rt := kmsg.NewProduceResponseTopic()
			rt.Topic, rt.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				rp := kmsg.NewProduceResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p.Partition, busy.Code
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp
	case *kmsg.TxnOffsetCommitRequest:
		if req.TransactionalID != s.id {
			return nil
		}
		if s.state != "" {
			return refusedAs(req, busy)
		}
		s.writes++
		s.pid, s.epoch = req.ProducerID, req.ProducerEpoch+1
	case *kmsg.EndTxnRequest:
		if req.TransactionalID == s.id && s.state != "" {
			resp := req.ResponseKind().(*kmsg.EndTxnResponse)
			resp.ErrorCode = busy.Code
			return resp
		}
	case *kmsg.InitProducerIDRequest:
		if req.TransactionalID != nil && *req.TransactionalID == s.id {
			s.inits++
		}
		if req.TransactionalID != nil && *req.TransactionalID == s.id && s.state != "" {
			s.inits = 0
			resp := req.ResponseKind().(*kmsg.InitProducerIDResponse)
			if resp.ErrorCode = busy.Code; req.ProducerID >= 0 && req.ProducerID != s.pid { // it does not know the next one yet
				resp.ErrorCode = kerr.ProducerFenced.Code
			}
			return resp
		}
	case *kmsg.DescribeTransactionsRequest:
		if len(req.TransactionalIDs) == 1 && req.TransactionalIDs[0] == s.id && s.state != "" {
			resp := req.ResponseKind().(*kmsg.DescribeTransactionsResponse)
			st := kmsg.NewDescribeTransactionsResponseTransactionState()
			st.TransactionalID, st.ProducerID, st.ProducerEpoch, st.State = s.id, s.pid, s.epoch, s.state
			resp.TransactionStates = append(resp.TransactionStates, st)
			return resp
		}
	case *kmsg.OffsetFetchRequest:
		s.asked++
		if s.state != "" {
			resp := req.ResponseKind().(*kmsg.OffsetFetchResponse)
			for _, g := range req.Groups {
				rg := kmsg.NewOffsetFetchResponseGroup()
				rg.Group, rg.ErrorCode = g.Group, kerr.UnstableOffsetCommit.Code
				resp.Groups = append(resp.Groups, rg)
			}
			return resp
		}
	}
	return nil
}

// The markers of a transaction cannot be written: its id is held by them, and what comes next is
// committed under the other one. When they are written, both are in use again.
func TestAnIDThatItsMarkersHold(t *testing.T) {
	r := newRig(t)
	s := r.stuck("id-0")
	r.push(1, 0, 2, value(1)).allCommitted() // id-0
	s.set("PrepareCommit")
	begun := time.Now()
	for i := range 6 {
		r.push(1, 2+i, 1, value(2+i)).allCommitted()
	}
	if d := time.Since(begun); d > olderTimeout/2 {
		t.Errorf("six windows took %v: they waited for the markers", d)
	}
	s.set("")
	r.push(1, 8, 1, value(8)).allCommitted()
	before := s.count()
	i := 9
	r.until("the id is in use again", func() bool {
		r.push(1, i, 1, value(i)).allCommitted()
		i++
		return s.count() > before
	})
	if got := r.committed()[0]; got != int64(i) {
		t.Errorf("committed is %d of %d", got, i)
	}
}

// The same of windows without outputs: they have a second id for it.
func TestAnIDWithoutOutputsThatItsMarkersHold(t *testing.T) {
	r := newRig(t)
	first, second := r.stuck("id-o0"), r.stuck("id-o8")
	r.push(1, 0, 1, none).allCommitted()
	begun, at := time.Now(), 1
	for n, s := range []*stuckID{first, second, first} {
		before := s.count()
		s.set("PrepareCommit")
		for range 2 {
			r.push(1, at, 1, none).allCommitted()
			at++
		}
		if s.count() > before || n > 0 && before == 0 {
			t.Errorf("turn %d: the id was used %d times before, and %d times while it was held", n, before, s.count()-before)
		}
		s.set("")
		r.until("the id is ours again", func() bool { return s.taken() })
	}
	if d := time.Since(begun); d > olderTimeout {
		t.Errorf("it took %v", d)
	}
	r.check(0, map[int32]int64{0: int64(at)})
}

// Nobody hears how a transaction ended, its markers cannot be written, and so no offsets can be
// read: the coordinator says how it is decided, and that is certain.
func TestTheCoordinatorsWordIsCertain(t *testing.T) {
	for state, again := range map[string]int64{"PrepareCommit": 0, "PrepareAbort": 1} {
		t.Run(state, func(t *testing.T) {
			r := newRig(t)
			r.push(1, 0, 1, value(1)).allCommitted() // id-0
			s := r.stuck("id-1")
			var once sync.Once
			r.cluster.ControlKey(int16(kmsg.EndTxn), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
				r.cluster.KeepControl()
				req, lost := kreq.(*kmsg.EndTxnRequest), false
				if req.TransactionalID == "id-1" {
					once.Do(func() { lost = true })
				}
				if !lost {
					return nil, nil, false
				}
				req.Commit = req.Commit && state == "PrepareCommit"
				r.cut.Store(true)
				time.AfterFunc(0, func() { s.set(state) })
				return nil, nil, false
			})
			r.cut.Store(true)
			begun := time.Now()
			r.push(1, 1, 2, value(2)).allCommitted()
			if d := time.Since(begun); d > olderTimeout/2 {
				t.Errorf("it took %v", d)
			}
			if st := r.lane.Stats(); st.Unknown != 1 || st.Aborted != again {
				t.Errorf("%+v", st)
			}
			s.mu.Lock()
			asked := s.asked
			s.mu.Unlock()
			if asked > 0 {
				t.Errorf("the group was asked %d times of what is certain", asked)
			}
			s.set("")
			r.push(1, 3, 1, value(3)).allCommitted()
			r.check(8, map[int32]int64{0: 4})
		})
	}
}

// An id that is set aside, and is a successor's when it is looked at again, ends the lane: at once,
// not when an idle lane looks whether its ids are its own.
func TestAnIDIsTakenWhileItIsAside(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, r *rig) {
		s := r.stuck("id-0")
		r.push(1, 0, 2, value(1)).allCommitted() // id-0
		s.set("PrepareCommit")
		for i := range 3 {
			r.push(1, 2+i, 1, value(2+i)).allCommitted()
		}
		for _, id := range []string{"id-1", "id-o0", "id-o8"} {
			r.takes(id)
		}
		begun := time.Now()
		s.mu.Lock()
		s.epoch += 3
		s.mu.Unlock()
		r.awaitTaken()
		if d := time.Since(begun); d > 2*time.Second {
			t.Errorf("it took %v", d)
		}
		u := r.enter(1, 5, 1, value(9))
		r.lane.Push(txn.Run{Batch: u, From: 0, To: 1})
		if err := u.await()[0]; !errors.Is(err, txn.ErrTaken) {
			t.Errorf("%v", err)
		}
	})
}
