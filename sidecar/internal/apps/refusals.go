package apps

import (
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/ackmark/ackmark/internal/telemetry"
	"github.com/ackmark/ackmark/sidecar/internal/peer"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// Refusal is why somebody may not do what it wants.
type Refusal string

const (
	RefusedUser    Refusal = "user"
	refusedApp     Refusal = "app or token"
	RefusedTopic   Refusal = "topic"
	RefusedGroup   Refusal = "group"
	RefusedMember  Refusal = "member"
	RefusedSession Refusal = "session"
	RefusedReports Refusal = "reports"
	RefusedRoute   Refusal = "route"
)

const (
	refusalEvery = 10 * time.Second
	maxRefusals  = 1024 // kinds and users that are told apart
)

type refusalKey struct {
	why Refusal
	uid uint32
}

// refusalOf is what refusals are counted by. known: there is an app of that name.
type refusalOf struct {
	why   Refusal
	app   string
	known bool
}

// refusals counts who was refused, and logs it now and then: what a peer does again and again must
// not fill the log. With its log it is ready.
type refusals struct {
	log *slog.Logger
	// label is the metrics' name of an app that is known: the names that a peer makes up are none.
	label func(app string) (name string, known bool)

	mu     sync.Mutex
	counts map[refusalOf]uint64
	logged map[refusalKey]time.Time
}

// Note counts a refusal. The names are the peer's: they are cut.
func (r *refusals) Note(p peer.Info, app string, why Refusal, detail string) {
	now := time.Now()
	of := refusalOf{why: why}
	of.app, of.known = r.label(app)
	r.mu.Lock()
	if r.counts == nil {
		r.counts, r.logged = make(map[refusalOf]uint64), make(map[refusalKey]time.Time)
	}
	r.counts[of]++
	n := r.counts[of]
	key := refusalKey{why, p.UID}
	at, known := r.logged[key]
	say := !known && len(r.logged) < maxRefusals || known && now.Sub(at) >= refusalEvery
	if say {
		r.logged[key] = now
	}
	r.mu.Unlock()
	if say {
		r.log.Warn("refused: an app or user is not allowed what it asks for", "what", string(why), "app", app[:min(len(app), 128)], "uid", p.UID, "gid", p.GID, "pid", p.PID,
			"detail", detail[:min(len(detail), 512)], "refusals", n)
	}
}

// Status lists the counts by reason, of those that there were.
func (r *refusals) Status() (list []*sidecarpb.RefusalCount) {
	r.mu.Lock()
	defer r.mu.Unlock()
	sums := make(map[Refusal]uint64)
	for of, n := range r.counts {
		sums[of.why] += n
	}
	for _, why := range slices.Sorted(maps.Keys(sums)) {
		list = append(list, &sidecarpb.RefusalCount{Reason: string(why), Count: sums[why]})
	}
	return list
}

// Tell tells the counts by reason and app.
func (r *refusals) Tell(to *telemetry.Reading) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for of, n := range r.counts {
		set := []attribute.KeyValue{telemetry.Reason.String(string(of.why))}
		if of.known {
			set = append(set, telemetry.App.String(of.app))
		}
		to.Count(telemetry.Refusals, int64(n), attribute.NewSet(set...))
	}
}
