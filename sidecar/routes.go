package sidecar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ackmark/ackmark/internal/configerr"
	"github.com/ackmark/ackmark/internal/peercred"
	"github.com/ackmark/ackmark/internal/route"
	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/internal/apps"
	"github.com/ackmark/ackmark/sidecar/internal/peer"
	"github.com/ackmark/ackmark/sidecar/internal/routes"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// featureRoutes is the ability to send a part of a topic's keys to Kafka directly.
const featureRoutes = "routes"

// Route says which part of a topic's keys the clients of an app send through the sidecar; the
// others they send to Kafka directly. Clients that cannot do that are not concerned.
type Route struct {
	// App is the app's name, or * for all that have none of their own. Required.
	App string
	// Topic is the topic's name, or * for all that are not named. Required.
	Topic string
	// By is direct, sidecar or fallback (through the sidecar, and directly while it is gone), and
	// how many percent of the keys go that way if it is not all of them, as in sidecar:10. The
	// others go directly; of direct:90 a tenth goes through the sidecar. Required.
	By string
}

// readRoutes reads routes and adds what is wrong with them, by the list of apps, too.
func readRoutes(list []Route, listed []apps.Entry, wrong *configerr.List) map[routes.Key]route.Route {
	out := make(map[routes.Key]route.Route, len(list))
	wrong.If(len(list) > route.MaxRoutes, "Routes", configerr.Words(fmt.Sprintf("%d of them", len(list))),
		fmt.Sprintf("at most %d: use * for what most topics or apps have", route.MaxRoutes))
	for i, r := range list {
		key := routes.Key{App: r.App, Topic: r.Topic}
		parsed, err := route.Parse(r.By)
		_, twice := out[key]
		field := fmt.Sprintf("Routes[%d]", i)
		switch names := key.Check(); {
		case names != nil:
			wrong.Wrong(field, r.App+" "+r.Topic, names.Error())
		case err != nil:
			wrong.Wrong(field+".By", r.By, err.Error())
		case twice:
			wrong.Wrong(field, r.App+" "+r.Topic, "each topic of an app once")
		default:
			if err := apps.Unroutable(listed, r.App, r.Topic, parsed.Share > 0); err != nil {
				wrong.Wrong(field, r.App+" "+r.Topic, err.Error())
			}
		}
		out[key] = parsed
	}
	return out
}

// RouteSetter says who may set which routes while the sidecar runs (`ackmark set route`), over its
// unix socket.
type RouteSetter struct {
	// UIDs are the users; they have to be allowed to connect, too. Nil: the sidecar's own and root.
	// An empty list is refused.
	UIDs []uint32
	// Apps and Topics are what they may set; a '*' at the end matches any rest. Nil: all. Who may
	// not set all cannot set the route of * either. An empty list is refused.
	Apps, Topics []string
}

const maxRouteSetters = 64

// routeSetters reads setters.
func routeSetters(list []RouteSetter) (out []routes.Setter) {
	for _, r := range list {
		out = append(out, routes.Setter(r))
	}
	return out
}

// validateRoutes finds what is wrong with the routes, and with who may set them.
func (c *Config) validateRoutes(wrong *configerr.List) {
	readRoutes(c.Routes, c.apps(nil).List, wrong)
	wrong.If(c.RouteSetters != nil && len(c.RouteSetters) == 0, "RouteSetters", configerr.Words("empty"), "name at least one, or leave it out: this user and root")
	wrong.If(len(c.RouteSetters) > maxRouteSetters, "RouteSetters", configerr.Words(fmt.Sprintf("%d of them", len(c.RouteSetters))), fmt.Sprintf("at most %d: join their users", maxRouteSetters))
	for i, r := range c.RouteSetters {
		field := fmt.Sprintf("RouteSetters[%d]", i)
		wrong.If(r.UIDs != nil && len(r.UIDs) == 0, field+".UIDs", r.UIDs, "name at least one user, or leave it out: this user and root")
		validateNames(wrong, field+".Apps", "app", r.Apps)
		validateNames(wrong, field+".Topics", "topic", r.Topics)
	}
}

// SetRoutes replaces Config.Routes while the sidecar runs, and tells the clients. What SetRoute has
// set stays, and wins.
func (s *Server) SetRoutes(list []Route) error {
	wrong := configerr.For("sidecar.Config")
	read := readRoutes(list, s.apps.List(), wrong)
	if err := wrong.Err(); err != nil {
		return err
	}
	s.service.router.table.Configure(read)
	s.service.router.tell(func(string) bool { return true })
	return nil
}

// router answers SetRoute.
type router struct {
	table    *routes.Table
	sessions *table
	apps     *apps.Apps
	log      *slog.Logger
}

// replace puts the routes and setters of a configuration in force whose apps are.
func (r *router) replace(c *Config) {
	r.table.Configure(readRoutes(c.Routes, nil, configerr.For("sidecar.Config"))) // it was judged
	if gone := r.table.Restrict(os.Geteuid(), routeSetters(c.RouteSetters)); len(gone) > 0 {
		r.log.Warn("routes that were set are forgotten: the new configuration allows them no more", "routes", len(gone), "app", gone[0].App, "topic", gone[0].Topic)
	}
	r.tell(func(string) bool { return true })
}

// SetRoute sets a route until the sidecar ends.
func (r *router) SetRoute(ctx context.Context, req *sidecarpb.SetRouteRequest) (*sidecarpb.SetRouteResponse, error) {
	p := peer.Of(ctx)
	by := routes.Who{Known: peercred.Known && p.Conn != nil, UID: p.UID}
	if !peer.OverWire(ctx) {
		by = routes.Who{Known: true, UID: uint32(os.Geteuid())}
	}
	key := routes.Key{App: req.GetApp(), Topic: req.GetTopic()}
	way := route.Route{Share: int(req.GetSidecarPercent()), Detour: req.GetFallback()}
	said := way.String()
	var err error
	if req.GetForget() {
		said = "as configured"
		err = r.table.Forget(by, key)
	} else {
		err = r.table.Set(by, key, way)
	}
	if forbidden, is := errors.AsType[*routes.ForbiddenError](err); is {
		r.apps.Refusals.Note(p, req.GetApp(), apps.RefusedRoute, forbidden.Why)
		return nil, status.Error(codes.PermissionDenied, wire.CodeUnauthorized+": "+forbidden.Why)
	}
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	r.log.Info("a route was set", "app", key.App, "topic", key.Topic, "by", said, "uid", by.UID, "pid", p.PID)
	told, deaf := r.tell(func(app string) bool { return key.App == route.All || key.App == app })
	return &sidecarpb.SetRouteResponse{Told: uint32(told), Deaf: uint32(deaf)}, nil
}

// tell tells the clients of apps what holds now.
func (r *router) tell(of func(app string) bool) (told, deaf int) {
	r.table.Telling.Lock()
	defer r.table.Telling.Unlock()
	for _, sess := range r.sessions.all() {
		switch {
		case !of(sess.app.Name):
		case sess.sendRoutes(nil, r.table.Message(sess.app.Name)):
			told++
		default:
			deaf++
		}
	}
	return told, deaf
}

// tellNew tells a client that has just joined.
func (r *router) tellNew(d *stream, sess *session) {
	r.table.Telling.Lock()
	defer r.table.Telling.Unlock()
	sess.sendRoutes(d, r.table.Message(sess.app.Name))
}

// sendRoutes tells a session's client what holds, if it goes by it. One that was not sent yet is
// replaced: who does not read holds one. A stream (not nil) that is not the session's any more is
// not told.
func (s *session) sendRoutes(on *stream, m *sidecarpb.DeliveryStreamResponse) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.followsRoutes() {
		return false
	}
	if on != nil && s.current(on) != nil {
		return true
	}
	for i, waiting := range s.cold {
		if waiting.GetRoutes() != nil {
			s.cold[i] = m
			return true
		}
	}
	s.queue(m)
	return true
}

// followsRoutes tells whether the client of its stream does. mu is held.
func (s *session) followsRoutes() bool { return s.stream != nil && s.stream.followsRoutes }
