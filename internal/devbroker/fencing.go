package devbroker

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ValidateTransactions makes the cluster refuse an InitProducerID that names an epoch which another
// producer of the transactional id has fenced, as Kafka does (PRODUCER_FENCED), and records whose
// epoch is over, and take what comes again in a producer's last epoch. kfake takes any epoch that
// is not above the latest one, so that a process which was fenced takes the id back; and late
// records begin a transaction there. opts are for a client of the cluster, which asks for epochs.
func ValidateTransactions(c *kfake.Cluster, opts ...kgo.Opt) {
	f := &fencing{
		opts:  append([]kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...)}, opts...),
		taken: map[string]producerEpoch{}, moved: map[string]int{}, writing: map[string]*writing{}, last: map[string]lastProducer{},
	}
	f.refuseLate(c)
	f.followExpiration(c)
	c.ControlKey(int16(kmsg.InitProducerID), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		req, ok := kreq.(*kmsg.InitProducerIDRequest)
		if !ok || req.TransactionalID == nil {
			return nil, nil, false
		}
		f.begins(req)
		named := req.ProducerID >= 0 && req.ProducerEpoch >= 0
		if named && f.hasExpired(c, *req.TransactionalID) {
			req.ProducerID, req.ProducerEpoch, named = -1, -1, false
		}
		if !named {
			f.take(c, *req.TransactionalID)
			return nil, nil, false
		}
		by := producerEpoch{req.ProducerID, req.ProducerEpoch}
		if next := f.follower(c, *req.TransactionalID, by); next != nil {
			req.ProducerID, req.ProducerEpoch = next.id, next.epoch
		}
		f.noteLast(*req.TransactionalID, by)
		if !f.fences(c, *req.TransactionalID, by) {
			f.moves(*req.TransactionalID)
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.InitProducerIDResponse)
		resp.ErrorCode, resp.ProducerID, resp.ProducerEpoch = kerr.ProducerFenced.Code, -1, -1
		return resp, nil, true
	})
}

// fences tells that an epoch was fenced by somebody who took the id.
func (f *fencing) fences(c *kfake.Cluster, id string, named producerEpoch) bool {
	if !f.isFenced(id, named) {
		return false
	}
	c.SleepControl(func() { _ = f.look(id) })
	return f.isFenced(id, named)
}

// take notes the epoch that somebody who names none is about to get. Others may move the id's
// while it is asked for.
func (f *fencing) take(c *kfake.Cluster, id string) {
	for {
		f.mu.Lock()
		before := f.moved[id]
		f.mu.Unlock()
		var now atomic.Pointer[producerEpoch] // a cluster that closes does not wait for it
		c.SleepControl(func() {
			if latest, known := f.now(id); known == there {
				now.Store(&latest)
			}
		})
		f.mu.Lock()
		still := f.moved[id] == before
		if still {
			f.moved[id]++
		}
		if latest := now.Load(); still && latest != nil {
			f.taken[id] = producerEpoch{latest.id, latest.epoch + 1}
		}
		f.mu.Unlock()
		if still {
			return
		}
	}
}

const askFor = 5 * time.Second

type producerEpoch struct {
	id    int64
	epoch int16
}

// fencing knows the epochs that were given to producers which named none.
type fencing struct {
	opts []kgo.Opt

	mu      sync.Mutex
	taken   map[string]producerEpoch
	moved   map[string]int // how often its epoch has moved
	writing map[string]*writing
	last    map[string]lastProducer
	expire  bool // ids may: how long they live was changed
}

func (f *fencing) isFenced(id string, named producerEpoch) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	latest, known := f.taken[id]
	return known && named.id == latest.id && named.epoch < latest.epoch
}

// moves notes that the epoch of an id is about to move.
func (f *fencing) moves(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.moved[id]++
}

// followExpiration notes when ids may expire. As long as nobody changes that they live for a week.
func (f *fencing) followExpiration(c *kfake.Cluster) {
	c.ControlKey(int16(kmsg.IncrementalAlterConfigs), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		req, ok := kreq.(*kmsg.IncrementalAlterConfigsRequest)
		if !ok {
			return nil, nil, false
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, r := range req.Resources {
			for _, cfg := range r.Configs {
				f.expire = f.expire || cfg.Name == "transactional.id.expiration.ms"
			}
		}
		return nil, nil, false
	})
}

// hasExpired tells that an id is not known any more. What was known of it is forgotten with it.
func (f *fencing) hasExpired(c *kfake.Cluster, id string) bool {
	f.mu.Lock()
	may := f.expire
	f.mu.Unlock()
	if !may {
		return false
	}
	var gone atomic.Bool // a cluster that closes does not wait for it
	c.SleepControl(func() { gone.Store(f.look(id) == missing) })
	return gone.Load()
}

// idState is what is known of an id.
type idState uint8

const (
	unasked idState = iota // nobody has answered
	there
	missing
)

// look forgets a taking that was noted, and that the broker refused for another reason, or has
// forgotten with its id.
func (f *fencing) look(id string) idState {
	now, known := f.now(id)
	f.mu.Lock()
	defer f.mu.Unlock()
	taken := f.taken[id]
	if known == missing || known == there && now.id == taken.id && now.epoch < taken.epoch {
		delete(f.taken, id)
	}
	return known
}

// now asks for the latest epoch of an id.
func (f *fencing) now(id string) (latest producerEpoch, known idState) {
	cl, err := kgo.NewClient(f.opts...)
	if err != nil {
		return latest, unasked
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), askFor)
	defer cancel()
	req := kmsg.NewPtrDescribeTransactionsRequest()
	req.TransactionalIDs = []string{id}
	resp, err := req.RequestWith(ctx, cl)
	if err != nil || len(resp.TransactionStates) != 1 {
		return latest, unasked
	}
	s := &resp.TransactionStates[0]
	if errors.Is(kerr.ErrorForCode(s.ErrorCode), kerr.TransactionalIDNotFound) {
		return latest, missing
	}
	return producerEpoch{s.ProducerID, s.ProducerEpoch}, there
}
