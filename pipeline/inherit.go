package pipeline

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/producer"
)

// inherit lets a static member join only when the sidecar commits nothing any more for the process
// that was that member before: once the new one has joined, the broker refuses that commit, and all
// of it would be done again. The partitions wait for us for SessionTimeout; a quarter of it is left
// for the join.
func (p *Pipeline) inherit(ctx context.Context) {
	heir, ok := p.cfg.Producer.(producer.Heir)
	m := p.source.State().Membership
	if !ok || m.InstanceID == "" {
		return
	}
	patience := cmp.Or(p.cfg.Consumer.SessionTimeout, consumer.DefaultSessionTimeout) / 4 * 3
	wait, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	begun := time.Now()
	err := heir.Inherit(wait, m.Group, m.InstanceID)
	took := time.Since(begun)
	switch {
	case err != nil && ctx.Err() == nil && !errors.Is(err, producer.ErrClosed):
		p.log.Warn("the will of this static member's former process is not executed yet; the group is joined all the same, what it did since its last commit is done again",
			"instance", m.InstanceID, "waited", took, "err", err)
	case err == nil && took > time.Second:
		p.log.Info("the will of this static member's former process was waited for", "instance", m.InstanceID, "waited", took)
	}
}
