package sidecar

import (
	"sync/atomic"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/internal/calls"
	"github.com/ackmark/ackmark/sidecar/internal/limit"
	"github.com/ackmark/ackmark/sidecar/internal/peer"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// appLimits is what one app may have of what all share, beside what is outstanding (app.meter):
// never all of it.
type appLimits struct {
	pinned *limit.Meter // received buffers that its records still need, of living and dead sessions
	emits  *limit.Meter // of what all emits may have outstanding
	waits  atomic.Int32 // emits whose caller waits
	reads  atomic.Int32 // open Reports calls
	topics atomic.Int32 // output topics that it was the first to name
	users  atomic.Int32 // sessions and calls that have it in their hands
}

const (
	maxAppWaits  = calls.MaxEmitCalls / 4 * 3
	maxAppReads  = 8
	maxAppTopics = maxTopics / 2
)

func newAppLimits(c *Config) appLimits {
	return appLimits{
		pinned: limit.NewMeter(2*c.AppBytes, 2*c.AppRecords),
		emits:  limit.NewMeter(c.emitBytes()/4*3, c.emitRecords()/4*3),
	}
}

// enter and leave tell that somebody has the app in his hands.
func (a *app) enter() { a.users.Add(1) }
func (a *app) leave() { a.users.Add(-1) }

// idle tells that nothing would be lost with the app but its name.
func (a *app) idle() bool {
	used, _, _ := a.ring.Status()
	return used == 0 && a.users.Load() == 0 && a.meter.Empty() && a.pinned.Empty()
}

// forgetIdle makes room for another app where there is no allow-list: names that somebody once used
// must not keep others out for ever. mu is held.
func (as *apps) forgetIdle() bool {
	for name, a := range as.byName {
		if a.idle() {
			delete(as.byName, name)
			return true
		}
	}
	return false
}

// admitEmit takes the emit's places in every limit, or none, and says why not.
func (s *Server) admitEmit(e *emit, p peer.Info, queued bool) (refused *sidecarpb.Error) {
	a := e.app
	if q := e.rec.likelyQueue(); q != nil && q.Over() {
		return limit.Full("partition %d of topic %q has %s waiting", q.RetryAfter(), q.partition, e.rec.topic.name, q)
	}
	var undo []func()
	defer func() {
		if refused != nil {
			for _, f := range undo {
				f()
			}
		}
	}()
	for _, m := range []struct {
		*limit.Meter
		whose string
	}{{s.emits, "the sidecar"}, {a.emits, "app " + a.Name}, {a.meter, "app " + a.Name + " in all"}} {
		if !m.TryAdd(e.rec.size, 1) {
			return limit.Full("%s has %s of emits waiting", m.RetryAfter(), m.whose, m.Meter)
		}
		undo = append(undo, func() { m.Sub(e.rec.size, 1) })
	}
	if !queued {
		if e.waits = a.waits.Add(1) <= maxAppWaits; !e.waits {
			a.waits.Add(-1)
			return limit.Full("app %q waits for %d emits", s.emits.RetryAfter(), a.Name, maxAppWaits)
		}
		return nil
	}
	id, ok := a.ring.Reserve(p)
	if !ok {
		used, _, _ := a.ring.Status()
		return limit.Full("%d reports of app %q are not seen: read them by Reports and come back with the last id as cursor, from the process that emitted or with the app's token", limit.UntilRead, used, a.Name)
	}
	e.report = id
	return nil
}

// giveBack returns what admitEmit took, when the emit has its fate.
func (e *emit) giveBack() {
	for _, m := range []*limit.Meter{e.app.meter, e.app.emits, e.server.emits} {
		m.Sub(e.rec.size, 1)
	}
}

// stopWaiting gives the caller's place back: its call ends.
func (e *emit) stopWaiting() {
	if e.waits {
		e.waits = false
		e.app.waits.Add(-1)
	}
}

// readReports takes the place of a Reports call of this app, and returns how to give it back.
func (a *app) readReports() (done func(), err error) {
	if a.reads.Add(1) > maxAppReads {
		a.reads.Add(-1)
		return nil, limit.FullStatus("%d Reports calls of app %q are open", limit.UntilRead, maxAppReads, a.Name)
	}
	return func() { a.reads.Add(-1) }, nil
}

// mayOpen tells whether the app may open another session: it leaves one for each other app of the
// allow-list that has none. mu is held.
func (s *Server) mayOpen(a *app) bool {
	free, open := s.cfg.MaxSessions-len(s.sessions), make(map[*app]int)
	for _, sess := range s.sessions {
		open[sess.app]++
	}
	if open[a] > 0 && len(s.cfg.Apps) > 0 {
		for _, other := range s.apps.all() {
			if open[other] == 0 {
				free--
			}
		}
	}
	return free > 0
}

// tooManyTopics refuses a topic because the app has named so many. It may stay so: topics are
// remembered for the sidecar's life.
func tooManyTopics(a *app) *sidecarpb.Error {
	return wire.Errorf(wire.CodeTooManyTopics, "app %q has named too many output topics, a sidecar remembers each for its life: %s", a.Name, wire.CodeOf(wire.CodeTooManyTopics).Remedy)
}
