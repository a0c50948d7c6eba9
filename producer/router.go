package producer

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/ackmark/ackmark/internal/podstate"
	"github.com/ackmark/ackmark/internal/route"
)

// router is the producer over both ways. Each unit goes one way, or is split: see split.
//
// Goroutines: follow, started by the first use and awaited by Close, does what a change of routes
// asks for that may wait: it alone calls the client's SetFallback, and tells the sidecar of
// partitions or that they leave it.
//
// mu is never held while a way is called: their Reporters take it.
type router struct {
	log    *slog.Logger
	broken *Error // configuration error
	side   *client
	own    *direct
	follow *follow

	mu      sync.Mutex
	own0    route.Routes // of the configuration
	environ route.Routes
	said    route.Routes // of the sidecar
	heard   bool         // it has said something
	topics  map[string]*routedTopic
	detours bool          // a route that counts has fallback
	changed chan struct{} // closed and replaced when somebody who waits may go on
	closed  bool
	split   int // units of which both ways have a part
	// joined tells that the sidecar knows of assigned, what this process holds. Nothing goes
	// through it before.
	joined   bool
	assigned assignments
}

// routedTopic is a topic that was written to. The router's lock guards it.
type routedTopic struct {
	*route.Switch
	route route.Route
	from  string
}

func newRouter(c RouteConfig, own, environ route.Routes) *router {
	r := &router{own0: own, environ: environ, topics: map[string]*routedTopic{}, changed: make(chan struct{})}
	side, direct := c.parts(r.hear)
	r.log = side.Logger
	r.side = side.New().(*client) //nolint:forcetypeassert // New returns nothing else
	r.own = newDirect(direct)
	r.detours, r.joined = r.anyDetour(), r.anySidecar()
	r.follow = newFollow(r)
	return r
}

// look is what counts for a topic. mu is held.
func (r *router) look(topic string) (one route.Route, from string) {
	if one, ok := r.said.Of(topic); ok {
		return one, "sidecar"
	}
	if one, ok := r.environ.Of(topic); ok {
		return one, "environment"
	}
	if one, ok := r.own0.Of(topic); ok {
		return one, "configuration"
	}
	return route.Route{Share: 100}, "configuration"
}

// topic is one that is written to. mu is held.
func (r *router) topic(name string) *routedTopic {
	if t := r.topics[name]; t != nil {
		return t
	}
	one, from := r.look(name)
	t := &routedTopic{route.NewSwitch(one.Share), one, from}
	r.topics[name] = t
	return t
}

// hear takes what the sidecar says of routes: all that counts from now on.
func (r *router) hear(said route.Routes) {
	for _, line := range r.take(said) { // not under mu: a Logger may ask where the producer stands
		r.log.Info("route changed", line...)
	}
}

// take is hear, and returns what changed, for the log.
func (r *router) take(said route.Routes) (changes [][]any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.heard && maps.Equal(r.said, said) {
		return nil
	}
	r.said, r.heard = said, true
	for name, t := range r.topics {
		one, from := r.look(name)
		if one != t.route {
			changes = append(changes, []any{"topic", name, "from", t.route.String(), "to", one.String(), "said_by", from})
		}
		t.route, t.from = one, from
		t.Turn(one.Share)
	}
	r.detours = r.anyDetour()
	r.announce()
	r.follow.notify()
	return changes
}

// anyDetour tells whether what waits for the sidecar takes a detour. mu is held, or r is new.
func (r *router) anyDetour() bool {
	for _, layer := range []route.Routes{r.said, r.environ, r.own0} {
		for topic := range layer {
			if one, _ := r.look(topic); one.Detour {
				return true
			}
		}
	}
	return false
}

// announce wakes those who wait. mu is held.
func (r *router) announce() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// anySidecar tells whether something goes through the sidecar, or may: of a route that counts, or
// of what is still on that way. mu is held.
func (r *router) anySidecar() bool {
	for _, t := range r.topics {
		if t.Share() > 0 || t.Open(route.Sidecar) {
			return true
		}
	}
	for _, layer := range []route.Routes{r.said, r.environ, r.own0} {
		for topic := range layer {
			if one, _ := r.look(topic); one.Share > 0 {
				return true
			}
		}
	}
	rest, _ := r.look(route.All)
	return rest.Share > 0
}

// anyDirect tells whether something goes directly. mu is held.
func (r *router) anyDirect() bool {
	for _, t := range r.topics {
		if t.Share() < 100 {
			return true
		}
	}
	rest, _ := r.look(route.All)
	return rest.Share < 100
}

// Routes implements [Router].
func (r *router) Routes() []RouteState {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []RouteState
	for _, name := range slices.Sorted(maps.Keys(r.topics)) {
		t := r.topics[name]
		out = append(out, RouteState{Topic: name, By: t.route.String(), From: t.from, Waiting: t.Leaving(route.Sidecar) || t.Leaving(route.Direct)})
	}
	return out
}

// Flush implements Producer.
func (r *router) Flush(ctx context.Context) error {
	return errors.Join(r.side.Flush(ctx), r.own.Flush(ctx))
}

// Check implements Producer: each way that something goes must be able to deliver.
func (r *router) Check(ctx context.Context) error {
	if r.broken != nil {
		return r.broken
	}
	if err := r.start(); err != nil {
		return err
	}
	r.mu.Lock()
	side, own := r.anySidecar(), r.anyDirect()
	r.mu.Unlock()
	var errs []error
	if side {
		errs = append(errs, r.side.Check(ctx))
	}
	if own {
		errs = append(errs, r.own.Check(ctx))
	}
	return errors.Join(errs...)
}

// CheckTopics implements [TopicChecker], by the way that most of a topic goes.
func (r *router) CheckTopics(ctx context.Context, topics ...string) error {
	if r.broken != nil {
		return r.broken
	}
	r.mu.Lock()
	var side, own []string
	for _, name := range topics {
		if one, _ := r.look(name); one.Share > 0 {
			side = append(side, name)
		} else {
			own = append(own, name)
		}
	}
	r.mu.Unlock()
	var errs []error
	if len(side) > 0 {
		errs = append(errs, r.side.CheckTopics(ctx, side...))
	}
	if len(own) > 0 {
		errs = append(errs, r.own.CheckTopics(ctx, own...))
	}
	return errors.Join(errs...)
}

// A router is all that the sidecar client is to a pipeline.
var (
	_ Fencer       = (*router)(nil)
	_ Refuser      = (*router)(nil)
	_ Heir         = (*router)(nil)
	_ TopicChecker = (*router)(nil)
	_ Validator    = (*router)(nil)
	_ Router       = (*router)(nil)
	_ Teller       = (*router)(nil)
)

// Tell implements Teller.
func (r *router) Tell(report func() podstate.Report) (stop func()) { return r.side.Tell(report) }

// OnFenced implements [Fencer].
func (r *router) OnFenced(fn func(*Error)) (forget func()) { return r.side.OnFenced(fn) }

// OnRefused implements [Refuser]. A refusal is no matter while nothing goes through the sidecar.
func (r *router) OnRefused(fn func(*Error)) {
	r.side.OnRefused(func(e *Error) {
		r.mu.Lock()
		side := r.anySidecar()
		r.mu.Unlock()
		if side {
			fn(e)
		}
	})
}

// Inherit implements [Heir].
func (r *router) Inherit(ctx context.Context, group, instanceID string) error {
	if r.broken != nil {
		return r.broken
	}
	r.mu.Lock()
	side := r.anySidecar()
	r.mu.Unlock()
	if !side {
		return nil // it commits for nobody of this process
	}
	return r.side.Inherit(ctx, group, instanceID)
}

// Close implements Producer.
func (r *router) Close() error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	r.announce()
	r.mu.Unlock()
	var side, own error
	var both sync.WaitGroup
	both.Go(func() { side = r.side.Close() })
	both.Go(func() { own = r.own.Close() })
	both.Wait()
	r.follow.stop()
	return errors.Join(side, own)
}

// start lets the client connect, so that the sidecar can say something, and tells why nothing can
// be taken.
func (r *router) start() error {
	if r.broken != nil {
		return r.broken
	}
	r.mu.Lock()
	closed := r.closed
	r.mu.Unlock()
	if closed {
		return errClosed()
	}
	r.follow.begin()
	return nil
}
