// Package routes keeps what a sidecar says about which keys of a topic go through it.
package routes

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/ackmark/ackmark/internal/route"
	"github.com/ackmark/ackmark/sidecar/internal/apps"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// Key is whose route it is: of an app's topic; both may be [route.All].
type Key struct{ App, Topic string }

// Check tells what is wrong with the names, or nil.
func (k Key) Check() error {
	if k.App != route.All && !apps.ValidName.MatchString(k.App) {
		return fmt.Errorf("app %.128q: use 1 to 128 letters, digits, '.', '_', '-', or * for all apps", k.App)
	}
	return route.CheckTopic(k.Topic)
}

// Table has the routes that are configured, and those that were set since, which win. Telling is
// held while who follows them is told: nobody hears of an older table after a newer one. Nothing
// can be set before [Table.Restrict] said by whom.
type Table struct {
	Telling sync.Mutex
	Apps    *apps.Apps // nil: any

	mu         sync.Mutex
	configured map[Key]route.Route
	set        map[Key]setRoute
	setters    []Setter
	own        int
}

// setRoute is a route and who set it.
type setRoute struct {
	route.Route
	by Who
}

// Configure replaces what is configured.
func (t *Table) Configure(list map[Key]route.Route) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.configured = maps.Clone(list)
}

// Set sets a route, until the sidecar ends. Who may not is told that by a [*ForbiddenError], before
// anything else.
func (t *Table) Set(by Who, k Key, r route.Route) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := cmp.Or(t.allow(by, k), k.Check()); err != nil {
		return err
	}
	if r.Share < 0 || r.Share > 100 {
		return fmt.Errorf("%d percent: use 0 to 100", r.Share)
	}
	if err := t.Apps.Unroutable(k.App, k.Topic, r.Share > 0); err != nil {
		return err
	}
	if _, known := t.set[k]; !known && len(t.set)+len(t.configured) >= route.MaxRoutes {
		return fmt.Errorf("%d routes are set or configured, the limit: use * for what most topics or apps have, or forget some", route.MaxRoutes)
	}
	if t.set == nil {
		t.set = make(map[Key]setRoute)
	}
	t.set[k] = setRoute{r, by}
	return nil
}

// Forget forgets what was set: what is configured holds again, if anything is. Who may set it may
// forget it.
func (t *Table) Forget(by Who, k Key) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := cmp.Or(t.allow(by, k), k.Check()); err != nil {
		return err
	}
	delete(t.set, k)
	return nil
}

// merged is what holds. mu is held.
func (t *Table) merged() map[Key]route.Route {
	all := make(map[Key]route.Route, len(t.set)+len(t.configured))
	maps.Copy(all, t.configured)
	for k, s := range t.set {
		all[k] = s.Route
	}
	return all
}

// For is what holds for an app: an app's own routes before those of all apps, and of each a topic's
// own before that of all topics.
func (t *Table) For(app string) route.Routes {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := route.Routes{}
	all := t.merged()
	for k, r := range all {
		if k.App == app {
			out[k.Topic] = r
		}
	}
	if _, own := out[route.All]; own {
		return out
	}
	for k, r := range all {
		if _, own := out[k.Topic]; k.App == route.All && !own {
			out[k.Topic] = r
		}
	}
	return out
}

// Message is that for the app's clients.
func (t *Table) Message(app string) *sidecarpb.DeliveryStreamResponse {
	m := new(sidecarpb.Routes)
	list := t.For(app)
	for _, topic := range slices.Sorted(maps.Keys(list)) {
		r := list[topic]
		m.Routes = append(m.Routes, &sidecarpb.TopicRoute{Topic: topic, SidecarPercent: uint32(r.Share), Fallback: r.Detour})
	}
	return &sidecarpb.DeliveryStreamResponse{Kind: &sidecarpb.DeliveryStreamResponse_Routes{Routes: m}}
}

// Status is all that holds, for Status.
func (t *Table) Status() (out []*sidecarpb.AppRoute) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for k, r := range t.merged() {
		_, set := t.set[k]
		out = append(out, &sidecarpb.AppRoute{App: k.App, Topic: k.Topic, SidecarPercent: uint32(r.Share), Fallback: r.Detour, Configured: !set})
	}
	slices.SortFunc(out, func(a, b *sidecarpb.AppRoute) int {
		return cmp.Or(cmp.Compare(a.GetApp(), b.GetApp()), cmp.Compare(a.GetTopic(), b.GetTopic()))
	})
	return out
}
