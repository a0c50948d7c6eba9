package sidecar

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/ackmark/ackmark/sidecar/internal/apps"
	"github.com/ackmark/ackmark/sidecar/internal/assigned"
	"github.com/ackmark/ackmark/sidecar/internal/credits"
	"github.com/ackmark/ackmark/sidecar/internal/limit"
	"github.com/ackmark/ackmark/sidecar/internal/told"
)

// table has the sessions, by their ids, and what they have of what all share.
type table struct {
	cfg    *Config
	apps   *apps.Apps
	common assigned.Commons
	told   *told.Log
	state  *state // set before it serves

	mu     sync.Mutex
	byID   map[string]*session
	closed closedIDs
	pool   *credits.Pool[*session]
	idle   chan struct{} // closed when the last session leaves; nil: nobody waits
}

func newTable(cfg *Config, a *apps.Apps) *table {
	return &table{
		cfg: cfg, apps: a, common: assigned.NewCommons(cfg.MaxBytes, cfg.MaxRecords, cfg.MaxSessions), told: told.NewLog(cfg.MaxBytes, cfg.MaxSessions),
		byID: make(map[string]*session), pool: cfg.credits(),
	}
}

// begin makes a session, which enter puts into the table.
func (t *table) begin(id string, a *apps.App, resumable bool) *session {
	s := newSession(id, a, resumable, t.common.Held(), t.told)
	s.lend(t.cfg.floor(), t.cfg.floor())
	return s
}

// find returns the session of an id, and whether one of that id is over for good.
func (t *table) find(id string) (_ *session, over bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byID[id], t.closed.holds(id)
}

func (t *table) all() []*session {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Collect(maps.Values(t.byID))
}

// enter puts a session into the table, in place of one of its id. Closing is the one of its id
// whose will is being executed, if that is why it cannot.
func (t *table) enter(sess *session) (closing *session, err error) {
	sess.intake.handling.Lock()
	defer sess.intake.handling.Unlock()
	t.mu.Lock()
	old := t.byID[sess.id]
	if old != nil && !old.isOf(sess.app, sess.client, sess.peer) {
		t.mu.Unlock()
		return nil, fencedStatus("another process has this session, or another client of this one: choose a unique id")
	}
	if old == nil && !t.mayOpen(sess.app) {
		t.mu.Unlock()
		return nil, limit.FullStatus("%d sessions may be open, one of them for each app of the list that has none: raise the sidecar's MaxSessions (limits.sessions)", limit.UntilRead, t.cfg.MaxSessions)
	}
	left := 0
	if old != nil {
		var ok bool
		if left, ok = sess.takeOver(old); !ok {
			t.mu.Unlock()
			return old, errFenced
		}
		t.takeCredit(old)
	}
	t.giveCredit(sess)
	t.byID[sess.id] = sess
	t.mu.Unlock()
	if old != nil {
		old.settle()
		t.cfg.Logger.Info("session taken over by a newer stream", "app", old.app.Name, "session", old.id, "no_room", left)
	}
	return nil, nil
}

// mayOpen tells whether the app may open another session: it leaves one for each other app of the
// allow-list that has none. mu is held.
func (t *table) mayOpen(a *apps.App) bool {
	free, open := t.cfg.MaxSessions-len(t.byID), make(map[*apps.App]int)
	for _, sess := range t.byID {
		open[sess.app]++
	}
	if open[a] > 0 && t.apps.Listed() {
		for _, other := range t.apps.All() {
			if open[other] == 0 {
				free--
			}
		}
	}
	return free > 0
}

// close ends a session and forgets it, if it was not replaced. It is forgotten only when it has
// handed its last record to kgo: the stream that comes next finds either it, and waits in
// enter, or nothing that could still produce (S7, S8).
func (t *table) close(sess *session, cause error) {
	end := errStreamDone
	if errors.Is(cause, errStopped) {
		end = errStopped // its file stays
	}
	sess.end(end)
	sess.settle()
	unknown := sess.refused()
	if errors.Is(cause, errStreamDone) || cause == nil {
		cause = context.Cause(sess.ctx)
	}
	t.cfg.Logger.Info("session ended", "app", sess.app.Name, "session", sess.id, "pid", sess.peer.PID, "cause", cause, "unknown_assignments", unknown)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byID[sess.id] == sess {
		t.takeCredit(sess)
		t.balance()
		delete(t.byID, sess.id)
	}
	t.signalIdle()
}

// fence closes a session for good: a later Hello with its id is refused.
func (t *table) fence(sess *session) {
	t.mu.Lock()
	t.closed.add(sess.id)
	t.mu.Unlock()
	t.close(sess, errFenced)
	close(sess.over)
}

// none returns a channel that is closed when no session is left.
func (t *table) none() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.idle == nil {
		t.idle = make(chan struct{})
		t.signalIdle()
	}
	return t.idle
}

// signalIdle is called with mu held.
func (t *table) signalIdle() {
	if t.idle != nil && len(t.byID) == 0 {
		select {
		case <-t.idle:
		default:
			close(t.idle)
		}
	}
}
