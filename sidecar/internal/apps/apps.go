package apps

import (
	"cmp"
	"context"
	"crypto/subtle"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ackmark/ackmark/internal/route"
	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/internal/flows"
	"github.com/ackmark/ackmark/sidecar/internal/limit"
	"github.com/ackmark/ackmark/sidecar/internal/peer"
	"github.com/ackmark/ackmark/sidecar/internal/reports"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// MaxApps bounds the apps that an open sidecar (without an allow-list) remembers.
const MaxApps = 1024

// Entry is an app of the list.
type Entry struct {
	Name           string
	Topics, Groups []string
	Token          string
}

// Config is what the apps are bounded by.
type Config struct {
	List []Entry // empty: whoever comes
	// Bytes and Records are what one app may have outstanding, EmitBytes and EmitRecords what all
	// emits together may.
	Bytes, EmitBytes     int64
	Records, EmitRecords int
	// Ring is how many reports are kept for one app, Reports for all.
	Ring, Reports int
	// Counts are where an app's refusals and waits are counted. Nil: for nobody.
	Counts func(app string) *flows.App
	Log    *slog.Logger
}

// ValidName is what an app may be called.
var ValidName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`)

// Apps are the apps by name: those of the allow-list, or whoever came.
type Apps struct {
	cfg     Config
	reports *limit.Commons // of queued emits, finished or not

	Assigning sync.Mutex // held while a session takes over a member: two cannot both find it free
	Refusals  refusals
	Pidfds    atomic.Int32 // that reports need, see shelf

	generation atomic.Uint64 // of the list, see Replace

	mu      sync.Mutex
	byName  map[string]*App
	leftOut map[string]*App // that a later list left out, and of which something is left
}

// App is what all sessions and emits of one app share.
type App struct {
	Name        string
	entry       atomic.Pointer[Entry]
	Outstanding *limit.Meter // outstanding of its sessions and emits
	Ring        *reports.Ring
	Counts      *flows.App
	appLimits
}

// New has the apps of the list.
func New(cfg Config) *Apps {
	if cfg.Counts == nil {
		cfg.Counts = flows.New(nil).App
	}
	as := &Apps{
		cfg: cfg, byName: make(map[string]*App), leftOut: make(map[string]*App),
		reports: limit.NewCommons(int64(cfg.Reports), cmp.Or(len(cfg.List), MaxApps)),
	}
	as.Refusals = refusals{log: cfg.Log, label: as.label}
	for _, a := range cfg.List {
		as.byName[a.Name] = as.newApp(a)
	}
	return as
}

// label is what metrics call an app that is known.
func (as *Apps) label(name string) (label string, known bool) {
	as.mu.Lock()
	defer as.mu.Unlock()
	a := cmp.Or(as.byName[name], as.leftOut[name])
	if name == "" || a == nil {
		return "", false
	}
	return a.Counts.Name(), true
}

func (as *Apps) newApp(a Entry) *App {
	app := &App{Name: a.Name, Counts: as.cfg.Counts(a.Name), Outstanding: limit.NewMeter(as.cfg.Bytes, as.cfg.Records), Ring: reports.New(as.cfg.Ring, a.Token != "", as.reports.Share(), &as.Pidfds), appLimits: newAppLimits(&as.cfg)}
	app.entry.Store(&a)
	return app
}

// HasToken tells that the app is known by its token.
func (a *App) HasToken() bool { return a.entry.Load().Token != "" }

// Get returns the app, for the caller to leave, or a gRPC status that says why it may not speak.
func (as *Apps) Get(name, token string) (*App, error) {
	as.mu.Lock()
	defer as.mu.Unlock()
	a := as.byName[name]
	switch {
	case a == nil && len(as.cfg.List) > 0:
		return nil, status.Errorf(codes.PermissionDenied, "%s: app %.128q is not in the sidecar's list of apps: add it there", wire.CodeUnauthorized, name)
	case a == nil && name != "" && !ValidName.MatchString(name):
		return nil, status.Errorf(codes.InvalidArgument, "app %.128q: use 1 to 128 letters, digits, '.', '_', '-'", name)
	case a == nil && len(as.byName) >= MaxApps && !as.forgetIdle():
		return nil, status.Errorf(codes.ResourceExhausted, "app %q: %d apps are known already: configure the list of apps", name, MaxApps)
	case a == nil:
		a = as.newApp(Entry{Name: name})
		as.byName[name] = a
	}
	if want := a.entry.Load().Token; want != "" && subtle.ConstantTimeCompare([]byte(want), []byte(token)) != 1 {
		return nil, status.Errorf(codes.PermissionDenied, "%s: app %q: wrong token", wire.CodeUnauthorized, name)
	}
	a.Enter()
	return a, nil
}

// Former returns the app of a session that was here before this sidecar began, or nil: it may not
// speak any more.
func (as *Apps) Former(name string) *App {
	as.mu.Lock()
	defer as.mu.Unlock()
	a := as.byName[name]
	if a == nil && len(as.cfg.List) == 0 && (name == "" || ValidName.MatchString(name)) && len(as.byName) < MaxApps {
		a = as.newApp(Entry{Name: name})
		as.byName[name] = a
	}
	return a
}

// Admit is Get for a peer; it notes who was refused.
func (as *Apps) Admit(ctx context.Context, name, token string) (*App, error) {
	a, err := as.Get(name, token)
	if status.Code(err) == codes.PermissionDenied {
		as.Refusals.Note(peer.Of(ctx), name, refusedApp, status.Convert(err).Message())
	}
	return a, err
}

// All are those that are known.
func (as *Apps) All() []*App {
	as.mu.Lock()
	defer as.mu.Unlock()
	out := make([]*App, 0, len(as.byName))
	for _, a := range as.byName {
		out = append(out, a)
	}
	return out
}

// RefuseTopic returns why the app may not write to the topic, or nil.
func (a *App) RefuseTopic(topic string) *sidecarpb.Error {
	if a.entry.Load().allowsTopic(topic) {
		return nil
	}
	return wire.Errorf(wire.CodeTopicNotAllowed, "app %q may not write to topic %q: %s", a.Name, topic, wire.CodeOf(wire.CodeTopicNotAllowed).Remedy)
}

// RefuseGroup returns why the app may not speak for members of the group, or nil.
func (a *App) RefuseGroup(group string) error {
	if a.entry.Load().allowsGroup(group) {
		return nil
	}
	return status.Errorf(codes.PermissionDenied, "%s: app %q may not speak for group %.255q: %s", wire.CodeGroupNotAllowed, a.Name, group, "add it to the app's groups in the sidecar's config")
}

// Unroutable returns why a route of an app's topic could be no good, as no app of the list sends
// it, or nil. Both may be [route.All]; through tells that some of it goes through the sidecar.
func (as *Apps) Unroutable(app, topic string, through bool) error {
	if as == nil {
		return nil
	}
	as.mu.Lock()
	defer as.mu.Unlock()
	return Unroutable(as.cfg.List, app, topic, through)
}

// Unroutable is [Apps.Unroutable] for a list that is not in force yet.
func Unroutable(list []Entry, app, topic string, through bool) error {
	known := len(list) == 0 || app == route.All
	for i := range list {
		e := &list[i]
		if app != route.All && app != e.Name {
			continue
		}
		known = true
		if !through || topic == route.All || e.allowsTopic(topic) {
			return nil
		}
	}
	switch {
	case len(list) == 0:
		return nil
	case !known:
		return fmt.Errorf("app %.128q is not in the sidecar's list of apps: add it there, or correct the name", app)
	case app == route.All:
		return fmt.Errorf("no app may write to topic %.255q through the sidecar: add it to the topics of one, or send it directly", topic)
	}
	return fmt.Errorf("app %.128q may not write to topic %.255q through the sidecar: add it to the app's topics, or send it directly", app, topic)
}

func (e *Entry) allowsTopic(topic string) bool { return e.Topics == nil || Matches(e.Topics, topic) }
func (e *Entry) allowsGroup(group string) bool { return e.Groups == nil || Matches(e.Groups, group) }

// Matches tells whether a name is in a list of names and of prefixes with '*' at their end.
func Matches(list []string, name string) bool {
	for _, x := range list {
		if prefix, ok := strings.CutSuffix(x, "*"); x == name || ok && strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
