package sidecar

import (
	"errors"
	"sync/atomic"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/internal/calls"
	"github.com/ackmark/ackmark/sidecar/internal/limit"
	"github.com/ackmark/ackmark/sidecar/internal/topics"
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
	maxAppTopics = topics.Max / 2
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

// readReports takes the place of a Reports call of this app, and returns how to give it back.
func (a *app) readReports() (done func(), err error) {
	if a.reads.Add(1) > maxAppReads {
		a.reads.Add(-1)
		return nil, limit.FullStatus("%d Reports calls of app %q are open", limit.UntilRead, maxAppReads, a.Name)
	}
	return func() { a.reads.Add(-1) }, nil
}

// tooManyTopics refuses a topic because the app has named so many. It may stay so: topics are
// remembered for the sidecar's life.
func tooManyTopics(a *app) *sidecarpb.Error {
	return wire.Errorf(wire.CodeTooManyTopics, "app %q has named too many output topics, a sidecar remembers each for its life: %s", a.Name, wire.CodeOf(wire.CodeTooManyTopics).Remedy)
}

// topicError makes the wire's error of one from topics.Get.
func topicError(a *app, err error) *sidecarpb.Error {
	if errors.Is(err, topics.ErrTooMany) {
		return tooManyTopics(a)
	}
	return wire.FromKafka(err)
}
