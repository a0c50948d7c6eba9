package login

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Logins counts connections, and authentications on them. It can break those that there are.
type Logins struct {
	Connects, Authentications atomic.Int64

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

// OnBrokerConnect implements kgo.HookBrokerConnect.
func (l *Logins) OnBrokerConnect(_ kgo.BrokerMetadata, _ time.Duration, conn net.Conn, err error) {
	if err != nil {
		return
	}
	l.Connects.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conns == nil {
		l.conns = map[net.Conn]struct{}{}
	}
	l.conns[conn] = struct{}{}
}

// OnBrokerDisconnect implements kgo.HookBrokerDisconnect.
func (l *Logins) OnBrokerDisconnect(_ kgo.BrokerMetadata, conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, conn)
}

// Again is how often a connection that was there has been authenticated again, with one message
// each time.
func (l *Logins) Again() int64 { return l.Authentications.Load() - l.Connects.Load() }

// Break breaks all connections.
func (l *Logins) Break() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for conn := range l.conns {
		_ = conn.Close()
	}
}

// OnBrokerWrite implements kgo.HookBrokerWrite.
func (l *Logins) OnBrokerWrite(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, err error) {
	if key == kmsg.NewPtrSASLAuthenticateRequest().Key() && err == nil {
		l.Authentications.Add(1)
	}
}
