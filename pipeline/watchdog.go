package pipeline

import (
	"context"
	"time"

	"github.com/ackmark/ackmark/consumer"
)

// watchdog notices handlers that take longer than HandlerTimeout. It looks at the lanes now and
// then, instead of having them ask the clock for each input.
type watchdog struct {
	p     *Pipeline
	every time.Duration
	seen  []watchMark
}

// watchMark is the call that ran in a lane when the watchdog first saw it.
type watchMark struct {
	call      uint64
	since     time.Time
	cancelled time.Time // zero: not yet
}

func newWatchdog(p *Pipeline) *watchdog {
	every := min(p.cfg.HandlerTimeout/10, p.cfg.HandlerGrace/5, time.Second)
	return &watchdog{p: p, every: max(every, time.Millisecond)}
}

func (w *watchdog) run(ctx context.Context) {
	w.seen = make([]watchMark, len(w.p.lanes))
	tick := time.NewTicker(w.every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		now := time.Now()
		for i, l := range w.p.lanes {
			w.look(l, &w.seen[i], now)
		}
	}
}

func (w *watchdog) look(l *lane, s *watchMark, now time.Time) {
	if late := w.judge(l, s, now); late != nil { // not under the lane's mu: a Logger may call State
		w.p.log.Warn("handler runs longer than HandlerTimeout: its context is cancelled", "input", inputOf(late).String(),
			"timeout", w.p.cfg.HandlerTimeout)
	}
}

// judge looks at the call that runs, and returns its input if it was cancelled now.
func (w *watchdog) judge(l *lane, s *watchMark, now time.Time) *consumer.Message {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.running == nil || l.abandoned:
		*s = watchMark{}
	case s.call != l.calls:
		*s = watchMark{call: l.calls, since: now}
	case s.cancelled.IsZero():
		if now.Sub(s.since) >= w.p.cfg.HandlerTimeout {
			s.cancelled = now
			l.timedOut.Store(true)
			l.cancel(ErrHandlerTimeout)
			w.p.counts.timeouts.Add(1)
			return l.running
		}
	case now.Sub(s.cancelled) >= w.p.cfg.HandlerGrace:
		l.abandon(now.Sub(s.since))
	}
	return nil
}

// abandon leaves the lane's goroutine to its handler, under mu: the pipeline stops, its other lanes
// drain.
func (l *lane) abandon(running time.Duration) {
	m := l.leaveIt()
	l.p.side.Go(func() { // not under mu: the consumer takes locks of its own
		l.p.stopBy(&StuckError{Input: inputOf(m), Running: running})
		l.p.undone(m, consumer.ErrShutdown) // no outcome: the drain must not wait for it
	})
}
