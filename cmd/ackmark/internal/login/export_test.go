package login

import (
	"net"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Logins counts connections, and authentications on them.
type Logins struct{ Connects, Authentications atomic.Int64 }

// OnBrokerConnect implements kgo.HookBrokerConnect.
func (l *Logins) OnBrokerConnect(_ kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	if err == nil {
		l.Connects.Add(1)
	}
}

// OnBrokerWrite implements kgo.HookBrokerWrite.
func (l *Logins) OnBrokerWrite(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, err error) {
	if key == kmsg.NewPtrSASLAuthenticateRequest().Key() && err == nil {
		l.Authentications.Add(1)
	}
}
