package consumer

import (
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// joining tells, once, of a member that waits in its first join. If its process dies there, the
// group gives it partitions all the same, and waits with them for its session to be over: unless
// somebody leaves who knows its id.
type joining struct{ g *group }

// OnBrokerWrite implements kgo.HookBrokerWrite.
func (j joining) OnBrokerWrite(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, _ error) {
	g := j.g
	if g.cfg.Hooks.Joining == nil || g.joins.Load() || g.life.Closing() || key != int16(kmsg.JoinGroup) && key != int16(kmsg.ConsumerGroupHeartbeat) {
		return
	}
	id, _ := g.file.client.Load().GroupMetadata()
	if id == "" || g.joins.Swap(true) {
		return // the brokers give a classic member its id with the first answer
	}
	g.life.Go(func() {
		g.hookMu.Lock()
		defer g.hookMu.Unlock()
		if g.current.Load() == nil && !g.life.Closing() {
			g.cfg.Hooks.Joining(Membership{Group: g.cfg.Group, MemberID: id, Generation: -1, InstanceID: g.cfg.InstanceID,
				Protocol: g.brokers.protocol, ClusterID: g.identity.clusterID(), Consumer: g.identity.number})
		}
	})
}

var _ kgo.HookBrokerWrite = joining{}
