package apps

import (
	"errors"
	"sync/atomic"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/internal/calls"
	"github.com/ackmark/ackmark/sidecar/internal/limit"
	"github.com/ackmark/ackmark/sidecar/internal/topics"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// appLimits is what one app may have of what all share, beside what is outstanding (Outstanding):
// never all of it.
type appLimits struct {
	Pinned *limit.Meter // received buffers that its records still need, of living and dead sessions
	Emits  *limit.Meter // of what all emits may have outstanding
	Waits  atomic.Int32 // emits whose caller waits
	Reads  atomic.Int32 // open Reports calls
	Named  atomic.Int32 // output topics that it was the first to name
	Users  atomic.Int32 // sessions and calls that have it in their hands
}

const (
	MaxAppWaits = calls.MaxEmitCalls / 4 * 3
	maxAppReads = 8
	MaxTopics   = topics.Max / 2
)

func newAppLimits(c *Config) appLimits {
	return appLimits{
		Pinned: limit.NewMeter(2*c.Bytes, 2*c.Records),
		Emits:  limit.NewMeter(c.EmitBytes/4*3, c.EmitRecords/4*3),
	}
}

// Enter tells that somebody has the app in his hands.
func (a *App) Enter() { a.Users.Add(1) }

// Leave tells that he has it no more.
func (a *App) Leave() { a.Users.Add(-1) }

// idle tells that nothing would be lost with the app but its name.
func (a *App) idle() bool {
	used, _, _ := a.Ring.Status()
	return used == 0 && a.Users.Load() == 0 && a.Outstanding.Empty() && a.Pinned.Empty()
}

// forgetIdle makes room for another app where there is no allow-list: names that somebody once used
// must not keep others out for ever. mu is held.
func (as *Apps) forgetIdle() bool {
	for name, a := range as.byName {
		if a.idle() {
			delete(as.byName, name)
			return true
		}
	}
	return false
}

// ReadReports takes the place of a Reports call of this app, and returns how to give it back.
func (a *App) ReadReports() (done func(), err error) {
	if a.Reads.Add(1) > maxAppReads {
		a.Reads.Add(-1)
		return nil, limit.FullStatus("%d Reports calls of app %q are open", limit.UntilRead, maxAppReads, a.Name)
	}
	return func() { a.Reads.Add(-1) }, nil
}

// tooManyTopics refuses a topic because the app has named so many. It may stay so: topics are
// remembered for the sidecar's life.
func tooManyTopics(a *App) *sidecarpb.Error {
	return wire.Errorf(wire.CodeTooManyTopics, "app %q has named too many output topics, a sidecar remembers each for its life: %s", a.Name, wire.CodeOf(wire.CodeTooManyTopics).Remedy)
}

// TopicError makes the wire's error of one from topics.Get.
func TopicError(a *App, err error) *sidecarpb.Error {
	if errors.Is(err, topics.ErrTooMany) {
		return tooManyTopics(a)
	}
	return wire.FromKafka(err)
}
