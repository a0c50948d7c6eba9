package pipeline

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/podstate"
	"github.com/ackmark/ackmark/producer"
)

// consumerConfig is the user's, with the pipeline's hooks chained in front.
func (p *Pipeline) consumerConfig() consumer.Config {
	cfg := p.cfg.forMode(p.cfg.Consumer)
	user := cfg.Hooks
	cfg.HandlerTimeout = -1 // it would count the time in lanes and in the producer as the handler's
	cfg.Hooks = consumer.Hooks{
		Joining: func(m consumer.Membership) {
			p.assigned(context.Background(), m, nil)
			if user.Joining != nil {
				user.Joining(m)
			}
		},
		Assigned: func(ctx context.Context, m consumer.Membership, added []*consumer.Assignment) {
			p.halts.forget(added)
			p.sentinels.assigned(added)
			p.rebalanced("assigned", added)
			p.metrics.assigned(added)
			p.assigned(ctx, m, added)
			if user.Assigned != nil {
				user.Assigned(ctx, m, added)
			}
		},
		Revoking: func(ctx context.Context, leaving []*consumer.Assignment) {
			if user.Revoking != nil {
				user.Revoking(ctx, leaving)
			}
			p.forget(leaving)
			p.rebalanced("revoked", leaving)
			p.release(ctx, leaving)
		},
		Lost: func(lost []*consumer.Assignment) {
			p.forget(lost)
			p.rebalanced("lost", lost)
			p.lost(lost)
			if user.Lost != nil {
				user.Lost(lost)
			}
		},
		Crossed: func(a *consumer.Assignment, offset int64) {
			p.crossed(a, offset)
			if user.Crossed != nil {
				user.Crossed(a, offset)
			}
		},
	}
	onHalt := cfg.OnHalt
	cfg.OnHalt = func(e *consumer.HaltError) {
		p.halted(e)
		if onHalt != nil {
			onHalt(e)
		}
	}
	return cfg
}

// rebalanced notes which partitions came or went.
func (p *Pipeline) rebalanced(what string, list []*consumer.Assignment) {
	if len(list) == 0 {
		return
	}
	names := make([]string, 0, 4)
	for _, a := range list[:min(len(list), 3)] {
		names = append(names, fmt.Sprintf("%s %d", a.Topic, a.Partition))
	}
	if len(list) > 3 {
		names = append(names, "…")
	}
	p.events.Add(podstate.Rebalance, "", 0, fmt.Sprintf("%d partitions %s: %s", len(list), what, strings.Join(names, ", ")))
}

// forget drops what waits of assignments that are over: nobody will start it.
func (p *Pipeline) forget(over []*consumer.Assignment) {
	if len(over) == 0 {
		return
	}
	dropped := 0
	for _, l := range p.lanes {
		dropped += l.forget(over)
	}
	if p.shared != nil {
		dropped += p.shared.forget(over)
	}
	p.counts.dropped.Add(int64(dropped))
	p.sentinels.over(over)
	p.halts.forget(over)
}

// assigned tells the producer before the first unit under the assignments can exist.
func (p *Pipeline) assigned(ctx context.Context, m consumer.Membership, added []*consumer.Assignment) {
	list := make([]producer.Assignment, len(added))
	for i, a := range added {
		list[i] = producer.Assignment{
			Epoch: a.Epoch, Topic: a.Topic, TopicID: a.TopicID, Partition: a.Partition, LeaderEpoch: a.LeaderEpoch, Start: a.Start, DoneSet: a.DoneSet,
			Progress: a.Progress,
		}
	}
	p.consumer.Store(m.Consumer)
	err := p.cfg.Producer.Assign(ctx, producer.Membership(m), list)
	switch {
	case err == nil, ctx.Err() != nil: // the client stops, or joins again
	case errors.Is(err, producer.ErrClosed):
		p.producerClosed()
	default:
		// Without the announcement the units of these partitions would be refused one by one.
		p.stopBy(&DeliveryError{Err: err})
	}
}

// isMine tells that a member that its group does not know was this pipeline's.
func (p *Pipeline) isMine(m *producer.MemberFencedError) bool {
	return m.Group == p.cfg.Consumer.Group && m.Consumer == p.consumer.Load()
}

// forgetFences ends what the producer tells: it may outlive the pipeline.
func (p *Pipeline) forgetFences() {
	if p.unfence != nil {
		p.unfence()
	}
}

func (p *Pipeline) release(ctx context.Context, leaving []*consumer.Assignment) {
	if len(leaving) == 0 {
		return
	}
	begun := time.Now()
	if err := p.cfg.Producer.Release(ctx, epochsOf(leaving)); err != nil && !errors.Is(err, producer.ErrClosed) {
		p.log.Warn("the producer did not release partitions in time: their unfinished inputs are handed out again elsewhere",
			"partitions", len(leaving), "took", time.Since(begun), "err", err)
	}
}

// lost releases in the background: nothing is committed, so nothing has to wait, and a rejoin must
// not.
func (p *Pipeline) lost(lost []*consumer.Assignment) {
	epochs := epochsOf(lost)
	if p.cfg.Mode == ExactlyOnce {
		p.giveUp(epochs)
		return
	}
	p.side.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), releaseTimeout)
		defer cancel()
		if err := p.cfg.Producer.Release(ctx, epochs); err != nil && !errors.Is(err, producer.ErrClosed) {
			p.log.Warn("the producer did not release lost partitions in time", "partitions", len(epochs), "err", err)
		}
	})
}

const releaseTimeout = 10 * time.Second

func epochsOf(list []*consumer.Assignment) []uint64 {
	epochs := make([]uint64, len(list))
	for i, a := range list {
		epochs[i] = a.Epoch
	}
	return epochs
}
