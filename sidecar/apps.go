package sidecar

import (
	"cmp"
	"context"
	"crypto/subtle"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/internal/limit"
	"github.com/ackmark/ackmark/sidecar/internal/peer"
	"github.com/ackmark/ackmark/sidecar/internal/reports"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// maxApps bounds the apps that an open sidecar (without an allow-list) remembers.
const maxApps = 1024

// apps are the apps by name: those of the allow-list, or whoever came.
type apps struct {
	cfg     *Config
	reports *limit.Commons // of queued emits, finished or not

	assigning sync.Mutex // held while a session takes over a member: two cannot both find it free
	refusals  refusals
	pidfds    atomic.Int32 // that reports need, see shelf

	mu     sync.Mutex
	byName map[string]*app
}

// app is what all sessions and emits of one app share.
type app struct {
	App
	meter *limit.Meter // outstanding of its sessions and emits
	ring  *reports.Ring
	appLimits
}

func newApps(cfg *Config) *apps {
	as := &apps{
		cfg: cfg, refusals: refusals{log: cfg.Logger}, byName: make(map[string]*app),
		reports: limit.NewCommons(int64(max(cfg.MaxRecords/4, 4*cfg.ReportRing)), cmp.Or(len(cfg.Apps), maxApps)),
	}
	for _, a := range cfg.Apps {
		as.byName[a.Name] = as.newApp(a)
	}
	return as
}

func (as *apps) newApp(a App) *app {
	return &app{App: a, meter: limit.NewMeter(as.cfg.AppBytes, as.cfg.AppRecords), ring: reports.New(as.cfg.ReportRing, a.Token != "", as.reports.Share(), &as.pidfds), appLimits: newAppLimits(as.cfg)}
}

// get returns the app, for the caller to leave, or a gRPC status that says why it may not speak.
func (as *apps) get(name, token string) (*app, error) {
	as.mu.Lock()
	defer as.mu.Unlock()
	a := as.byName[name]
	switch {
	case a == nil && len(as.cfg.Apps) > 0:
		return nil, status.Errorf(codes.PermissionDenied, "%s: app %.128q is not in the sidecar's list of apps: add it there", wire.CodeUnauthorized, name)
	case a == nil && name != "" && !appName.MatchString(name):
		return nil, status.Errorf(codes.InvalidArgument, "app %.128q: use 1 to 128 letters, digits, '.', '_', '-'", name)
	case a == nil && len(as.byName) >= maxApps && !as.forgetIdle():
		return nil, status.Errorf(codes.ResourceExhausted, "app %q: %d apps are known already: configure the list of apps", name, maxApps)
	case a == nil:
		a = as.newApp(App{Name: name})
		as.byName[name] = a
	}
	if a.Token != "" && subtle.ConstantTimeCompare([]byte(a.Token), []byte(token)) != 1 {
		return nil, status.Errorf(codes.PermissionDenied, "%s: app %q: wrong token", wire.CodeUnauthorized, name)
	}
	a.enter()
	return a, nil
}

// admit is get for a peer; it notes who was refused.
func (as *apps) admit(ctx context.Context, name, token string) (*app, error) {
	a, err := as.get(name, token)
	if status.Code(err) == codes.PermissionDenied {
		as.refusals.note(peer.Of(ctx), name, refusedApp, status.Convert(err).Message())
	}
	return a, err
}

func (as *apps) all() []*app {
	as.mu.Lock()
	defer as.mu.Unlock()
	out := make([]*app, 0, len(as.byName))
	for _, a := range as.byName {
		out = append(out, a)
	}
	return out
}

// refuse returns why the app may not write to the topic, or nil.
func (a *app) refuse(topic string) *sidecarpb.Error {
	if a.Topics == nil || matches(a.Topics, topic) {
		return nil
	}
	return wire.Errorf(wire.CodeTopicNotAllowed, "app %q may not write to topic %q: %s", a.Name, topic, wire.CodeOf(wire.CodeTopicNotAllowed).Remedy)
}
