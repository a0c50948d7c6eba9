package devbroker

import (
	"math"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// lastEpoch of a producer id: behind it come a new one and epoch 0. Kafka's coordinator knows the
// producer of before: what comes again in its last epoch is a retry (TransactionMetadata's
// prevProducerId, since a producer may not have heard of the new one). kfake forgets it.
const lastEpoch = math.MaxInt16 - 1

// lastProducer is one that was at its last epoch.
type lastProducer struct {
	id        int64
	ended     bool // its transaction, by an EndTxn
	committed bool
}

// noteLast notes that an id's producer is at its last epoch, if it is.
func (f *fencing) noteLast(id string, by producerEpoch) {
	if by.epoch != lastEpoch {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.last[id].id != by.id {
		f.last[id] = lastProducer{id: by.id}
	}
}

// follower is the producer that an id has behind the last epoch of this one, as long as nothing was
// done with it.
func (f *fencing) follower(c *kfake.Cluster, id string, by producerEpoch) *producerEpoch {
	f.mu.Lock()
	was, known := f.last[id]
	f.mu.Unlock()
	if !known || by.epoch != lastEpoch || was.id != by.id {
		return nil
	}
	var next atomic.Pointer[producerEpoch] // a cluster that closes does not wait for it
	c.SleepControl(func() {
		if now, known := f.now(id); known == there && now.id != by.id && now.epoch == 0 {
			next.Store(&now)
		}
	})
	return next.Load()
}

// endsAgain answers an EndTxn that was done before, in the last epoch.
func (f *fencing) endsAgain(c *kfake.Cluster, req *kmsg.EndTxnRequest) kmsg.Response {
	by := producerEpoch{req.ProducerID, req.ProducerEpoch}
	f.mu.Lock()
	was := f.last[req.TransactionalID]
	f.mu.Unlock()
	if was.id == by.id && was.ended && was.committed == req.Commit {
		if next := f.follower(c, req.TransactionalID, by); next != nil {
			resp := req.ResponseKind().(*kmsg.EndTxnResponse)
			resp.ProducerID, resp.ProducerEpoch = next.id, next.epoch
			return resp
		}
	}
	if by.epoch == lastEpoch {
		f.mu.Lock()
		f.last[req.TransactionalID] = lastProducer{by.id, true, req.Commit}
		f.mu.Unlock()
	}
	return nil
}
