package brokers

import (
	"net"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// OnBrokerConnect counts connections, and keeps why one could not be made.
func (b *Brokers) OnBrokerConnect(m kgo.BrokerMetadata, _ time.Duration, conn net.Conn, err error) {
	if conn != nil { // with an error, too: OnBrokerDisconnect is told of what was open
		b.connections.Add(1)
	}
	addr := net.JoinHostPort(m.Host, strconv.Itoa(int(m.Port)))
	if err != nil {
		b.connectErrors.Store(addr, err)
		return
	}
	b.connectErrors.Delete(addr)
}

// connectError returns why the last connection to a configured address failed, or nil.
func (b *Brokers) connectError(addr string) error {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		addr = net.JoinHostPort(addr, "9092")
	}
	err, _ := b.connectErrors.Load(addr)
	e, _ := err.(error)
	return e
}

// OnBrokerDisconnect counts connections.
func (b *Brokers) OnBrokerDisconnect(kgo.BrokerMetadata, net.Conn) { b.connections.Add(-1) }

// OnBrokerWrite counts produce requests.
func (b *Brokers) OnBrokerWrite(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, err error) {
	if key == int16(kmsg.Produce) && err == nil {
		b.produceRequests.Add(1)
	}
}
