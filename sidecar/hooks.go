package sidecar

import (
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// hooks is what the sidecar learns from its Kafka client.
type hooks struct {
	connections     atomic.Int64
	produceRequests atomic.Int64
	connectErrors   sync.Map // host:port → error of the last attempt; absent after a success
}

var (
	_ kgo.HookProduceRecordPartitioned = queueing{}
	_ kgo.HookBrokerConnect            = (*hooks)(nil)
	_ kgo.HookBrokerDisconnect         = (*hooks)(nil)
	_ kgo.HookBrokerWrite              = (*hooks)(nil)
)

// queueing follows records of the usual client; those that are sent again are counted already.
type queueing struct{}

// OnProduceRecordPartitioned counts the record in its partition's queue. kgo holds that partition's
// lock, so the promise, which subtracts, comes later.
func (queueing) OnProduceRecordPartitioned(kr *kgo.Record, _ int32) {
	enqueue(recordOf(kr), kr.Partition)
}

// enqueue counts a record in its partition's queue.
func enqueue(r *outRec, partition int32) {
	q := r.topic.queue(partition)
	r.queue = q
	if q.Add(r.size, 1) && r.frame != nil {
		r.frame.session.intake.full.Store(q)
	}
	if !r.topic.ready.Load() {
		r.topic.known()
	}
}

// OnBrokerConnect counts connections, and keeps why one could not be made.
func (h *hooks) OnBrokerConnect(m kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	addr := net.JoinHostPort(m.Host, strconv.Itoa(int(m.Port)))
	if err != nil {
		h.connectErrors.Store(addr, err)
		return
	}
	h.connectErrors.Delete(addr)
	h.connections.Add(1)
}

// connectError returns why the last connection to a configured address failed, or nil.
func (h *hooks) connectError(addr string) error {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		addr = net.JoinHostPort(addr, "9092")
	}
	err, _ := h.connectErrors.Load(addr)
	e, _ := err.(error)
	return e
}

// OnBrokerDisconnect counts connections.
func (h *hooks) OnBrokerDisconnect(kgo.BrokerMetadata, net.Conn) { h.connections.Add(-1) }

// OnBrokerWrite counts produce requests.
func (h *hooks) OnBrokerWrite(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, err error) {
	if key == int16(kmsg.Produce) && err == nil {
		h.produceRequests.Add(1)
	}
}
