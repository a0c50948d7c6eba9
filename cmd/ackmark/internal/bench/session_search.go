package bench

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/ackmark/ackmark/internal/proof/figures"
)

const (
	// sessionTrials is how many intervals are tried at most.
	sessionTrials = 6
	// wantedTrials are of the sidecar: their median is what is looked for.
	wantedTrials = 3
	// foundWithin is nearer than equalWithin: what follows differs from the trials.
	foundWithin = 0.04
	longest     = time.Second // of the intervals
)

// search looks for the interval at which the median latency is the one wanted. A record waits for
// half an interval, and for the end of its transaction; how steep it is really the trials tell.
type search struct {
	want  float64 // milliseconds
	tried []SessionTrial
}

// next is the interval to try next; false: it has found what there is to find, and nearest has it.
func (s *search) next() (time.Duration, bool) {
	if len(s.tried) == 0 {
		return DefaultSessionEvery, true
	}
	last := s.tried[len(s.tried)-1]
	if len(s.tried) == sessionTrials || s.off(last) <= foundWithin {
		return 0, false
	}
	more := time.Duration((s.want - last.Median) / s.ratio() * float64(time.Millisecond)).Round(time.Millisecond)
	every := min(max(last.Every+more, 0), longest)
	return every, every != last.Every
}

// ratio is how much longer the latency gets with the interval, by the last two trials.
func (s *search) ratio() float64 {
	n := len(s.tried)
	if n < 2 {
		return 0.5
	}
	a, b := s.tried[n-2], s.tried[n-1]
	return min(max((b.Median-a.Median)/((b.Every-a.Every).Seconds()*1000), 0.3), 1.5)
}

// off is how far a trial is from what is wanted, as a share of it.
func (s *search) off(t SessionTrial) float64 { return math.Abs(t.Median/s.want - 1) }

// nearest is the trial that came nearest.
func (s *search) nearest() SessionTrial {
	best := s.tried[0]
	for _, t := range s.tried {
		if s.off(t) < s.off(best) {
			best = t
		}
	}
	return best
}

// agree finds the interval of the sessions at which their median latency is the sidecar's, unless
// one was given.
func (b *bench) agree(ctx context.Context, s *Session) error {
	if b.opts.SessionEvery != nil {
		s.SessionEvery = *b.opts.SessionEvery
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, runTimeout, errors.New("no interval of the sessions was found"))
	defer cancel()
	b.progress.say("%d processes: the median latency of %s", s.Processes, s.sidecars().Name)
	err := b.trials(ctx, s, s.sidecars(), wantedTrials, func(g *groupRun, l *load) error {
		var all []float64
		for range wantedTrials {
			ms, err := g.trial(ctx, l)
			if err != nil {
				return err
			}
			all = append(all, ms)
		}
		s.Wanted = median(all)
		return nil
	})
	if err != nil {
		return err
	}
	s.SessionEvery = DefaultSessionEvery
	return b.trials(ctx, s, s.own(), sessionTrials, func(g *groupRun, l *load) error {
		look := search{want: s.Wanted}
		for every, more := look.next(); more; every, more = look.next() {
			b.progress.say("%d processes: sessions that take polls for %s", s.Processes, every)
			for _, p := range g.apps {
				p.Say(commandEvery + every.String())
			}
			ms, err := g.trial(ctx, l)
			if err != nil {
				return err
			}
			look.tried = append(look.tried, SessionTrial{every, ms})
		}
		s.Trials, s.SessionEvery = look.tried, look.nearest().Every
		return nil
	})
}

// trials gives fn a group and a load that is enough for so many trials.
func (b *bench) trials(ctx context.Context, s *Session, mode *SessionMode, most int, fn func(*groupRun, *load) error) error {
	g, err := b.startGroup(ctx, s, mode, 0)
	if err != nil {
		return err
	}
	defer g.end(ctx)
	l, err := b.newLoad(most*s.pacedRecords(b.opts.paced), g.output)
	if err != nil {
		return err
	}
	defer l.close()
	if err := fn(g, l); err != nil {
		return err
	}
	return stopAll(g.apps, g.server)
}

// trial is the median latency of a paced load.
func (g *groupRun) trial(ctx context.Context, l *load) (float64, error) {
	ms, err := g.paced(ctx, l, g.opts.paced, new(SessionLoad))
	return figures.Quantile(ms, 0.5), err
}
