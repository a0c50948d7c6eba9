package sidecar

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// refusal is why somebody may not do what it wants.
type refusal string

const (
	refusedUser    refusal = "user"
	refusedApp     refusal = "app or token"
	refusedTopic   refusal = "topic"
	refusedGroup   refusal = "group"
	refusedMember  refusal = "member"
	refusedSession refusal = "session"
	refusedReports refusal = "reports"
)

const (
	refusalEvery = 10 * time.Second
	maxRefusals  = 1024 // kinds and users that are told apart
)

type refusalKey struct {
	why refusal
	uid uint32
}

// refusals counts who was refused, and logs it now and then: what a peer does again and again must not fill the log. The zero value is empty.
type refusals struct {
	mu     sync.Mutex
	count  uint64
	logged map[refusalKey]time.Time
}

// note counts a refusal. The names are the peer's: they are cut.
func (r *refusals) note(log *slog.Logger, p peerInfo, app string, why refusal, detail string) {
	now := time.Now()
	r.mu.Lock()
	r.count++
	n := r.count
	key := refusalKey{why, p.UID}
	at, known := r.logged[key]
	say := !known && len(r.logged) < maxRefusals || known && now.Sub(at) >= refusalEvery
	if say {
		if r.logged == nil {
			r.logged = make(map[refusalKey]time.Time)
		}
		r.logged[key] = now
	}
	r.mu.Unlock()
	if say {
		log.Warn("refused: an app or user is not allowed what it asks for", "what", string(why), "app", app[:min(len(app), 128)], "uid", p.UID, "gid", p.GID, "pid", p.PID,
			"detail", detail[:min(len(detail), 512)], "refusals", n)
	}
}

// admitApp is apps.get for a peer; it notes who was refused.
func (s *Server) admitApp(ctx context.Context, name, token string) (*app, error) {
	a, err := s.apps.get(name, token)
	if status.Code(err) == codes.PermissionDenied {
		s.apps.refusals.note(s.log, peerOf(ctx), name, refusedApp, status.Convert(err).Message())
	}
	return a, err
}

func (r *refusals) total() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count
}
