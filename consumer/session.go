package consumer

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// session knows until when the brokers let this member have what it holds, in the consumer
// protocol. A member that they cannot reach learns from nobody that its session is over, and others
// have its partitions by then: it has to know by its own clock.
//
// A broker counts from when it gets a heartbeat, the member from when it sent the last one that was
// answered: it is never the later one of the two.
type session struct {
	clock   clock
	timeout atomic.Int64  // as a time.Duration
	told    atomic.Bool   // the brokers have said it
	changed chan struct{} // it is another one
	written atomic.Int64  // when the last heartbeat was
	sent    atomic.Int64  // when the last one was that has an answer: -1 for none
}

func newSession(timeout time.Duration) *session {
	s := &session{clock: clock{time.Now()}, changed: make(chan struct{}, 1)}
	s.timeout.Store(int64(timeout))
	s.sent.Store(-1)
	return s
}

func (s *session) length() time.Duration { return time.Duration(s.timeout.Load()) }

// is takes the brokers' word, and tells whether it is news.
func (s *session) is(length time.Duration) bool {
	news := s.timeout.Swap(int64(length)) != int64(length)
	if news {
		select {
		case s.changed <- struct{}{}:
		default:
		}
	}
	return s.told.Swap(true) && news
}

// left is how long the member may go on, zero or less for not at all. known is false before the
// first answer.
func (s *session) left() (left time.Duration, known bool) {
	sent := s.sent.Load()
	return s.length() - time.Duration(s.clock.now()-sent), sent >= 0
}

// OnBrokerWrite implements kgo.HookBrokerWrite.
func (s *session) OnBrokerWrite(_ kgo.BrokerMetadata, key int16, _ int, _, took time.Duration, _ error) {
	if key == int16(kmsg.ConsumerGroupHeartbeat) {
		s.written.Store(s.clock.now() - int64(took))
	}
}

// OnBrokerE2E implements kgo.HookBrokerE2E. The process may have stood still just before it, or
// before OnBrokerWrite: each time is late then, and the other one is not.
func (s *session) OnBrokerE2E(_ kgo.BrokerMetadata, key int16, took kgo.BrokerE2E) {
	if key == int16(kmsg.ConsumerGroupHeartbeat) && took.Err() == nil {
		s.sent.Store(min(s.written.Load(), s.clock.now()-int64(took.DurationE2E())))
	}
}

// sessionConfig is how the brokers call a group's session.
const sessionConfig = "consumer.session.timeout.ms"

// askSession asks how long the group's sessions are: in the consumer protocol that is the brokers'
// to say. Who may not know it goes by Config.SessionTimeout.
func (b *brokers) askSession(ctx context.Context, cl *kgo.Client) {
	group := kmsg.NewDescribeConfigsRequestResource()
	group.ResourceType, group.ResourceName, group.ConfigNames = kmsg.ConfigResourceTypeGroupConfig, b.cfg.Group, []string{sessionConfig}
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.Resources = append(req.Resources, group)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return
	}
	for _, r := range resp.Resources {
		for _, c := range r.Configs {
			if c.Name != sessionConfig || c.Value == nil {
				continue
			}
			if ms, err := strconv.ParseInt(*c.Value, 10, 32); err == nil && ms > 0 {
				if length := time.Duration(ms) * time.Millisecond; b.session.is(length) {
					b.log.Info("the group's sessions have another length", "session", length)
				}
			}
		}
	}
}

// followSession asks again and again, since the brokers may be told another length while they run.
// A member that is cut off before it has heard of a shorter one ends late.
func (b *brokers) followSession(ctx context.Context) {
	const times = 3 // in a session
	if !b.epochs() || !b.session.told.Load() {
		return // who may not ask is not made to ask for ever
	}
	for waitFor(ctx, b.session.length()/times) {
		ask, cancel := context.WithTimeout(ctx, checkTimeout)
		b.askSession(ask, b.client.Load())
		cancel()
	}
}

// watchSession ends the assignments when the session is over as far as this member can know. They
// are lost: nothing of them is committed any more. The group is joined anew as soon as it answers.
func (g *group) watchSession(ctx context.Context) {
	if !g.brokers.epochs() {
		return
	}
	s := g.brokers.session
	ended := int64(-1) // for which silence that was done
	for {
		left, known := s.left()
		if !known || left <= 0 {
			if sent := s.sent.Load(); known && sent != ended && g.current.Load() != nil {
				ended = sent
				g.fence(fmt.Errorf("the group's coordinator has answered no heartbeat for the session of %s: it takes this member for dead", s.length()))
			}
			left = g.cfg.HeartbeatInterval
		}
		over := time.NewTimer(left)
		select {
		case <-ctx.Done():
			over.Stop()
			return
		case <-s.changed:
			over.Stop()
		case <-over.C:
		}
	}
}

var (
	_ kgo.HookBrokerWrite = (*session)(nil)
	_ kgo.HookBrokerE2E   = (*session)(nil)
)
