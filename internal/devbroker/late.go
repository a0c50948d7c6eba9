package devbroker

import (
	"encoding/binary"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// refuseLate makes the cluster refuse what comes in an epoch that is over, as Kafka's
// TransactionCoordinator does:
//   - Records, before they change anything (handleAddPartitionsToTransaction). kfake refuses them,
//     too, but begins a transaction in the epoch of now with them: its producer, who knows nothing
//     of it, takes it for a successor's.
//   - An EndTxn in the epoch before that of a successor (endTransaction: it is no retry when
//     the state is Empty or Ongoing). kfake takes it for a retry of its own end, and tells the
//     successor's epoch: the one that was fenced goes on in it.
func (f *fencing) refuseLate(c *kfake.Cluster) {
	c.ControlKey(int16(kmsg.EndTxn), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		req, ok := kreq.(*kmsg.EndTxnRequest)
		if !ok {
			return nil, nil, false
		}
		by := producerEpoch{req.ProducerID, req.ProducerEpoch}
		if f.fences(c, req.TransactionalID, by) {
			resp := req.ResponseKind().(*kmsg.EndTxnResponse)
			resp.ErrorCode, resp.ProducerID, resp.ProducerEpoch = kerr.ProducerFenced.Code, -1, -1
			return resp, nil, true
		}
		if resp := f.endsAgain(c, req); resp != nil {
			return resp, nil, true
		}
		f.ends(req.TransactionalID, by)
		return nil, nil, false
	})
	c.ControlKey(int16(kmsg.Produce), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		req, ok := kreq.(*kmsg.ProduceRequest)
		if !ok || req.TransactionID == nil {
			return nil, nil, false
		}
		by, ok := producerOf(req)
		f.noteLast(*req.TransactionID, by)
		if !ok || !f.mayBeLate(*req.TransactionID, by) {
			return nil, nil, false
		}
		var late atomic.Bool // a cluster that closes does not wait for it
		c.SleepControl(func() {
			now, known := f.now(*req.TransactionID)
			if known == there && now.id == by.id && by.epoch < now.epoch {
				late.Store(true)
			} else {
				f.isCurrent(*req.TransactionID, by)
			}
		})
		if !late.Load() {
			return nil, nil, false
		}
		return refuseProduce(req, kerr.InvalidProducerEpoch), nil, true
	})
}

// writing is what is known of the epoch that an id produces in.
type writing struct {
	by      producerEpoch
	since   time.Time     // its first records; zero: whether it is that of now has to be asked
	timeout time.Duration // the shortest that was asked for
}

// begins notes that somebody takes an id.
func (f *fencing) begins(req *kmsg.InitProducerIDRequest) {
	f.mu.Lock()
	defer f.mu.Unlock()
	timeout := time.Duration(req.TransactionTimeoutMillis) * time.Millisecond
	w := f.writing[*req.TransactionalID]
	if w == nil {
		f.writing[*req.TransactionalID] = &writing{by: producerEpoch{-1, -1}, timeout: timeout}
		return
	}
	w.by, w.since, w.timeout = producerEpoch{-1, -1}, time.Time{}, min(w.timeout, timeout)
}

// ends notes that what comes in an epoch from now on is late.
func (f *fencing) ends(id string, by producerEpoch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.moved[id]++
	if w := f.writing[id]; w != nil && w.by == by {
		w.since = time.Time{}
	}
}

// mayBeLate tells that records may be late. Those of the epoch behind one that was seen are not:
// its producer has it from the answer to an EndTxn.
func (f *fencing) mayBeLate(id string, by producerEpoch) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	w := f.writing[id]
	switch {
	case w == nil:
		return true
	case w.by == by:
		return w.since.IsZero() || time.Since(w.since) >= w.timeout/2 // it may have timed out
	case w.by.id == by.id && by.epoch == w.by.epoch+1:
		w.by, w.since = by, time.Now()
		return false
	}
	return true
}

// isCurrent notes that an epoch is that of now.
func (f *fencing) isCurrent(id string, by producerEpoch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	w := f.writing[id]
	if w == nil {
		return
	}
	if w.by != by || w.since.IsZero() {
		w.by, w.since = by, time.Now()
	}
}

// producerOf is whose records a request has.
func producerOf(req *kmsg.ProduceRequest) (by producerEpoch, ok bool) {
	const idAt, epochAt, end = 43, 51, 53 // in a batch
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			if len(p.Records) >= end {
				return producerEpoch{
					int64(binary.BigEndian.Uint64(p.Records[idAt:])), int16(binary.BigEndian.Uint16(p.Records[epochAt:])),
				}, true
			}
		}
	}
	return by, false
}

func refuseProduce(req *kmsg.ProduceRequest, err *kerr.Error) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.ProduceResponse)
	for _, t := range req.Topics {
		rt := kmsg.NewProduceResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			rp := kmsg.NewProduceResponseTopicPartition()
			rp.Partition, rp.BaseOffset, rp.ErrorCode = p.Partition, -1, err.Code
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}
