package pipeline

import (
	"errors"
	"time"

	"github.com/ackmark/ackmark/internal/podstate"
)

// report is what this process tells its sidecar.
func (p *Pipeline) report() podstate.Report {
	r := p.look(time.Now())
	r.Incidents = p.events.Untold()
	return r
}

// Pod is what there is to see of a process that has no sidecar, for package admin.
func (p *Pipeline) Pod() *podstate.Pod {
	now := time.Now()
	r, incidents := p.look(now), p.events.All()
	if c, ok := p.cfg.Producer.(committing); ok {
		var aborts []podstate.Incident
		r.Process.Transactions, aborts = c.Seen(now)
		incidents = podstate.Newest(incidents, aborts)
	}
	return podstate.Own(r, p.cfg.Consumer.Group, incidents, now)
}

// committing is a producer with transactions of its own.
type committing interface {
	Seen(now time.Time) (*podstate.Transactions, []podstate.Incident)
}

func (p *Pipeline) look(now time.Time) podstate.Report {
	s := p.State()
	r := s.Consumer.Report(now)
	r.Process = podstate.Process{
		Lanes: s.Lanes, Busy: s.Busy, Queued: s.Queued, Finished: s.Finished,
		Latency: podstate.LatencyOf(&p.counts.latency, now),
		Counters: podstate.Counters{
			Done: s.Done, DeadLetters: s.DeadLetters, Retries: s.Retries, Timeouts: s.Timeouts, Rejected: s.Rejected, Redelivered: s.Redelivered,
		},
		Sentinels: podstate.Sentinels{
			CommitBeyond: int64(s.Sentinels.CommitBeyond), OrderInverted: int64(s.Sentinels.OrderInverted), InputSkipped: int64(s.Sentinels.InputSkipped),
		},
	}
	if err := errors.Join(s.Stopping, s.Consumer.Err, s.Consumer.CommitErr); err != nil {
		r.Process.Problem = podstate.Text(err.Error())
	}
	where := p.findOldest(s.Consumer.Partitions, now)
	for i := range r.Partitions {
		x, of := &r.Partitions[i], &s.Consumer.Partitions[i]
		x.Group = p.cfg.Consumer.Group
		x.Offsets.Handled = where.handled(of)
		if x.Oldest != nil {
			since := x.Oldest.Since
			x.Oldest = p.explain(of, where, now)
			x.Oldest.Since = since
		}
	}
	return r
}
