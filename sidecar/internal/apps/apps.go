package apps

import (
	"cmp"
	"context"
	"crypto/subtle"
	"log/slog"
	"regexp"
	"strings"
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
	Log           *slog.Logger
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

	mu     sync.Mutex
	byName map[string]*App
}

// App is what all sessions and emits of one app share.
type App struct {
	Entry
	Outstanding *limit.Meter // outstanding of its sessions and emits
	Ring        *reports.Ring
	appLimits
}

// New has the apps of the list.
func New(cfg Config) *Apps {
	as := &Apps{
		cfg: cfg, Refusals: refusals{log: cfg.Log}, byName: make(map[string]*App),
		reports: limit.NewCommons(int64(cfg.Reports), cmp.Or(len(cfg.List), MaxApps)),
	}
	for _, a := range cfg.List {
		as.byName[a.Name] = as.newApp(a)
	}
	return as
}

func (as *Apps) newApp(a Entry) *App {
	return &App{Entry: a, Outstanding: limit.NewMeter(as.cfg.Bytes, as.cfg.Records), Ring: reports.New(as.cfg.Ring, a.Token != "", as.reports.Share(), &as.Pidfds), appLimits: newAppLimits(&as.cfg)}
}

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
	if a.Token != "" && subtle.ConstantTimeCompare([]byte(a.Token), []byte(token)) != 1 {
		return nil, status.Errorf(codes.PermissionDenied, "%s: app %q: wrong token", wire.CodeUnauthorized, name)
	}
	a.Enter()
	return a, nil
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
	if a.Topics == nil || matches(a.Topics, topic) {
		return nil
	}
	return wire.Errorf(wire.CodeTopicNotAllowed, "app %q may not write to topic %q: %s", a.Name, topic, wire.CodeOf(wire.CodeTopicNotAllowed).Remedy)
}

// RefuseGroup returns why the app may not speak for members of the group, or nil.
func (a *App) RefuseGroup(group string) error {
	if a.Groups == nil || matches(a.Groups, group) {
		return nil
	}
	return status.Errorf(codes.PermissionDenied, "%s: app %q may not speak for group %.255q: %s", wire.CodeGroupNotAllowed, a.Name, group, wire.CodeOf(wire.CodeGroupNotAllowed).Remedy)
}

// matches tells whether a name is in a list of names and of prefixes with '*' at their end.
func matches(list []string, name string) bool {
	for _, x := range list {
		if prefix, ok := strings.CutSuffix(x, "*"); x == name || ok && strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
