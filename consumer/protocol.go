package consumer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// balancersOfBrokers are those that the consumer protocol has, by the names of their classic ones:
// with another one the client would silently stay in the classic protocol.
var balancersOfBrokers = []string{"cooperative-sticky", "sticky", "range"}

// checkProtocol tells whether the client would go along.
func (cfg *Config) checkProtocol(probe *kgo.Client) error {
	balancers, _ := probe.OptValue(kgo.Balancers).([]kgo.GroupBalancer)
	if cfg.Protocol == ClassicProtocol || len(balancers) == 0 || slices.Contains(balancersOfBrokers, balancers[0].ProtocolName()) {
		return nil
	}
	return &ConfigError{Config: configName, Field: "Protocol", Value: cfg.Protocol.String(), Remedy: fmt.Sprintf(
		"brokers assign in it, and have no balancer %q: drop kgo.Balancers from Config.Options, or use ClassicProtocol", balancers[0].ProtocolName())}
}

// errNoConsumerProtocol is why a group is not joined, or not in the consumer protocol.
var errNoConsumerProtocol = errors.New("the brokers do not serve the consumer protocol (KIP-848)")

// protocolError says what to do about it.
func (cfg *Config) protocolError(err error) *GroupError {
	return &GroupError{Group: cfg.Group, Err: err, Remedy: "it needs Kafka 4.3, its feature group.version at 1, and \"consumer\" among the brokers' " +
		"group.coordinator.rebalance.protocols; or set Config.Protocol to ClassicProtocol or AutoProtocol"}
}

// chooseProtocol finds out, before the group is joined, whether the brokers serve the protocol that
// was asked for. The client itself would go back to the classic one without a word. A *GroupError
// says that they do not.
func (b *brokers) chooseProtocol(ctx context.Context) error {
	if b.protocol = b.cfg.Protocol; b.protocol == AutoProtocol {
		b.protocol = ClassicProtocol
	}
	if b.cfg.Protocol == ClassicProtocol {
		return nil
	}
	cl, err := b.asking()
	if err != nil {
		return err
	}
	defer cl.Close()
	return b.awaitStart(ctx, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, checkTimeout)
		defer cancel()
		why, err := b.againstEpochs(ctx, cl)
		switch {
		case err != nil:
			return err
		case why == nil:
			b.protocol = ConsumerProtocol
			b.askSession(ctx, cl)
		case b.cfg.Protocol == AutoProtocol:
			b.log.Info("the group is joined in the classic protocol", "reason", why)
		default:
			return b.cfg.protocolError(why)
		}
		return nil
	})
}

// The first Kafka whose brokers keep what AutoProtocol needs: the epochs in which partitions were
// assigned, so that commits of an epoch before are taken.
const (
	metadataVersion = "metadata.version"
	kafka43         = 30
)

// againstEpochs tells what speaks against the consumer protocol: nil, if nothing does.
func (b *brokers) againstEpochs(ctx context.Context, cl *kgo.Client) (why, err error) {
	resp, err := kmsg.NewPtrApiVersionsRequest().RequestWith(ctx, cl)
	if err != nil {
		return nil, b.unreachable(err)
	}
	serves := slices.ContainsFunc(resp.ApiKeys, func(k kmsg.ApiVersionsResponseApiKey) bool {
		return k.ApiKey == int16(kmsg.ConsumerGroupHeartbeat) && k.MaxVersion >= 1
	})
	if !serves {
		return errNoConsumerProtocol, nil
	}
	if most, limited := cl.OptValue(kgo.MaxVersions).(*kversion.Versions); limited && most != nil {
		if v, known := most.LookupMaxKeyVersion(int16(kmsg.ConsumerGroupHeartbeat)); !known || v < 1 {
			return fmt.Errorf("%w: kgo.MaxVersions in Config.Options leaves the request out", errNoConsumerProtocol), nil
		}
	}
	if b.cfg.Protocol == AutoProtocol {
		recent := slices.ContainsFunc(resp.FinalizedFeatures, func(f kmsg.ApiVersionsResponseFinalizedFeature) bool {
			return f.Name == metadataVersion && f.MaxVersionLevel >= kafka43
		})
		if !recent {
			return errors.New("the cluster's metadata.version is below that of Kafka 4.3"), nil
		}
		if why, err := b.classicMembers(ctx, cl); why != nil || err != nil {
			return why, err
		}
	}
	// Brokers may know the request and be set up not to serve it. To leave as a member that there
	// is not changes nothing.
	req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	req.Group, req.MemberID, req.MemberEpoch = b.cfg.Group, "ackmark-asks", -1
	answer, err := req.RequestWith(ctx, cl)
	if err != nil {
		return nil, b.unreachable(err)
	}
	switch err := kerr.ErrorForCode(answer.ErrorCode); {
	case errors.Is(err, kerr.UnsupportedVersion):
		return errNoConsumerProtocol, nil
	case err == nil, errors.Is(err, kerr.GroupIDNotFound), errors.Is(err, kerr.UnknownMemberID):
		return nil, nil
	case errors.Is(err, kerr.GroupAuthorizationFailed), errors.Is(err, kerr.InvalidGroupID):
		return nil, b.cfg.groupError(err)
	default:
		return nil, b.unreachable(err)
	}
}

// classicMembers tells that the group has members, and is a classic one: with a member of the other
// protocol the brokers would make it another one.
func (b *brokers) classicMembers(ctx context.Context, cl *kgo.Client) (why, err error) {
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Groups = []string{b.cfg.Group}
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return nil, b.unreachable(err)
	}
	for _, g := range resp.Groups {
		err := kerr.ErrorForCode(g.ErrorCode)
		switch {
		case errors.Is(err, kerr.GroupIDNotFound):
		case errors.Is(err, kerr.GroupAuthorizationFailed):
			return nil, b.cfg.groupError(err)
		case err != nil:
			return nil, b.unreachable(err)
		case len(g.Members) > 0:
			return fmt.Errorf("the group is classic, and has %d members", len(g.Members)), nil
		}
	}
	return nil, nil
}

// epochs tells that the member takes part in the consumer protocol.
func (b *brokers) epochs() bool { return b.protocol == ConsumerProtocol }

// watchProtocol is told when the client joins as a classic member after all, as it does where the
// first brokers that it asks do not serve the consumer protocol.
type watchProtocol struct {
	b    *brokers
	told func(error)
}

// OnBrokerWrite implements kgo.HookBrokerWrite.
func (w watchProtocol) OnBrokerWrite(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, _ error) {
	if key == int16(kmsg.JoinGroup) && w.b.epochs() && !w.b.turnedClassic.Swap(true) {
		w.told(w.b.cfg.protocolError(errNoConsumerProtocol))
	}
}

// beatLoop heartbeats every HeartbeatInterval, in the consumer protocol: a member learns of a leave
// by its own heartbeats alone, and the client sends them as rarely as the brokers ask, by default
// every 5 s. It also tells the member's epoch, which moves without any callback.
func (g *group) beatLoop(ctx context.Context) {
	if !g.brokers.epochs() {
		return
	}
	beat := newBeat(g.cfg.HeartbeatInterval)
	for {
		if !g.waitForBeat(ctx, beat.NextBackOff()) {
			return
		}
		cl := g.brokers.client.Load()
		if _, epoch := cl.GroupMetadata(); epoch <= 0 || g.brokers.turnedClassic.Load() {
			continue // before the first answer, and in a classic group, the client would join once more
		}
		cl.ForceRebalance() // in the consumer protocol, a heartbeat
		g.tellEpoch(ctx, cl)
	}
}

// tellEpoch tells the member's epoch if it is another one than what was told. While a rebalance
// step runs it is left to the next beat, or to the step itself. A shutdown holds hookMu while it
// drains, and what it waits for is committed under the epoch of now.
func (g *group) tellEpoch(ctx context.Context, cl *kgo.Client) {
	if g.life.Closing() {
		g.announceNewer(ctx, cl)
		return
	}
	if !g.hookMu.TryLock() {
		return
	}
	defer g.hookMu.Unlock()
	m := g.current.Load()
	id, epoch := cl.GroupMetadata()
	if m == nil || m.MemberID != id || epoch <= m.Generation {
		return
	}
	g.refreshMembership(cl)
	g.callAssigned(ctx, nil)
}

// joinAgainNow makes the client find out who it is. A classic member joins again. In the consumer
// protocol there is no join to repeat: a member whose membership is doubtful leaves, and the next
// heartbeat tells the client, which loses what it held and joins as a new one.
func (g *group) joinAgainNow(cl *kgo.Client) {
	if !g.brokers.epochs() {
		cl.ForceRebalance()
		return
	}
	id, epoch := cl.GroupMetadata()
	if epoch <= 0 {
		return // it joins already
	}
	req, lost := g.lastHeartbeat(id), g.current.Load() == nil
	g.life.Go(func() {
		// Until it is out, or the brokers have said that it is. Otherwise it would keep partitions
		// that nobody works on. A client that joins under its old id, as a fenced one does, stays.
		for again := newBeat(time.Second); ; {
			// Its context does not end: that would break the connection that a commit may be on
			// (S3).
			_, err := req.RequestWith(context.Background(), cl)
			if err == nil {
				cl.ForceRebalance() // the client hears of it, unless the brokers have not done it
			} else {
				g.log.Warn("a doubtful membership could not be left yet", "err", err)
			}
			waitFor(g.life.Context(), again.NextBackOff())
			if now, _ := cl.GroupMetadata(); now != id || err == nil && !lost || g.life.Stopping() || lost && g.current.Load() != nil {
				return
			}
		}
	})
}

// lastHeartbeat takes a member out of the group, a static one for now.
func (g *group) lastHeartbeat(id string) *kmsg.ConsumerGroupHeartbeatRequest {
	req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	req.Group, req.MemberID, req.MemberEpoch = g.cfg.Group, id, -1
	if g.cfg.InstanceID != "" {
		req.InstanceID, req.MemberEpoch = &g.cfg.InstanceID, -2
	}
	return req
}

// leaveForNow does what the client cannot: it leaves out the instance id of a static member, and
// Kafka refuses its last heartbeat (INVALID_REQUEST). It has stopped by now, and sends no other
// one.
func (g *group) leaveForNow(ctx context.Context, cl *kgo.Client, id string) error {
	resp, err := g.lastHeartbeat(id).RequestWith(ctx, cl)
	if err != nil {
		return err
	}
	err = kerr.ErrorForCode(resp.ErrorCode)
	if errors.Is(err, kerr.UnknownMemberID) || errors.Is(err, kerr.GroupIDNotFound) || errors.Is(err, kerr.FencedInstanceID) {
		return nil // it is not there any more
	}
	return err
}

// heartbeatsPause is how long a rebalance step may take in the consumer protocol: the client sends
// no heartbeat meanwhile, and the brokers' session is 45 s.
const heartbeatsPause = 15 * time.Second

// stepTimeout bounds a rebalance step that asks brokers.
func (g *group) stepTimeout() time.Duration {
	if g.brokers.epochs() {
		return min(g.cfg.RebalanceTimeout/2, heartbeatsPause)
	}
	return g.cfg.RebalanceTimeout / 2
}

// mayBeReleased tells whether it is worth to wait for a static member's id, which the brokers keep
// for its former process: as long as that one's session may last.
func (rd *reader) mayBeReleased(err error) bool {
	return rd.brokers.epochs() && errors.Is(err, kerr.UnreleasedInstanceID) && time.Since(rd.troubles.groupSince()) <= rd.cfg.SessionTimeout+heartbeatsPause
}

// newBeat is a little irregular, so that the members of a group do not beat all at once.
func newBeat(every time.Duration) backoff.BackOff {
	return backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(every), backoff.WithMultiplier(1), backoff.WithMaxInterval(every), backoff.WithRandomizationFactor(0.1), backoff.WithMaxElapsedTime(0))
}

// waitFor waits, and tells whether ctx goes on.
func waitFor(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
