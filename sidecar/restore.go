package sidecar

import (
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ackmark/ackmark/internal/sessionfile"
	"github.com/ackmark/ackmark/sidecar/internal/assigned"
	"github.com/ackmark/ackmark/sidecar/internal/flows"
	"github.com/ackmark/ackmark/sidecar/internal/peer"
)

// restore makes a session of each orphan in the state directory: its sidecar died. One whose
// process is proven dead has its will executed at once. Another one's client has its grace to come
// back, and begins its session anew then.
func (s *Server) restore() error {
	st := s.sessions.state
	if st == nil {
		return nil
	}
	orphans, err := st.dir.Orphans(func(path string, why error) {
		s.log.Warn("a session file is no last will", "file", filepath.Base(path), "reason", strings.TrimPrefix(why.Error(), path))
	})
	if err != nil {
		return stateFailed(&s.cfg, err)
	}
	var found []*session
	for _, o := range orphans {
		if o.ID == "" { // of a consumer without a sidecar, which shares the directory: its heir finds it
			o.Keep()
			continue
		}
		if len(o.Memberships) == 0 {
			o.Forget()
			continue
		}
		if sess := s.sessions.restore(o); sess != nil {
			found = append(found, sess)
		}
	}
	for _, sess := range found { // it has all its files by now
		sess.app.Counts.Began.Add(flows.Restored, 1)
		s.wills.followFormer(sess)
	}
	return nil
}

// restore enters the session of an orphan, or returns nil: its app may not speak any more, or
// somebody has its id.
func (t *table) restore(o *sessionfile.Orphan) *session {
	a := t.apps.Former(o.App)
	if a == nil {
		t.cfg.Logger.Warn("a session file is no last will", "app", o.App, "session", o.ID, "reason", "the app is not in the allow-list any more")
		o.Forget()
		return nil
	}
	o.Memberships = slices.DeleteFunc(o.Memberships, func(m sessionfile.Membership) bool {
		why := a.RefuseGroup(m.Group)
		if why != nil {
			t.cfg.Logger.Warn("no will for a membership in a session file", "app", o.App, "session", o.ID, "reason", why)
		}
		return why != nil
	})
	was := o.Process
	if o.OtherPIDs {
		was.PID, was.Start = 0, 0
	}
	sess := t.begin(o.ID, a, true)
	sess.client, sess.fromFile = o.Client, true
	sess.peer = peer.Info{UID: o.UID, PID: was.PID, Inode: o.Process.Inode, Certificate: o.Certificate, Former: o.Local}
	sess.process = peer.Former(was)
	sess.happen(eventBreak)
	sess.breaks = 1
	sess.book.add(lets(o))
	left := sess.held.Hear(assigned.FormerOf(o))
	t.mu.Lock()
	newer := t.byID[o.ID]
	if newer == nil {
		t.byID[o.ID] = sess
	}
	t.mu.Unlock()
	if newer != nil {
		sess.book.former = nil
		sess.end(errReplaced)
		newer.alsoFrom(o)
		return nil
	}
	t.cfg.Logger.Info("a session of the sidecar before this one is found in the state directory", "app", a.Name, "session", sess.id, "pid", o.Process.PID,
		"proven_dead", sess.process.ProvenDead(), "memberships", len(o.Memberships), "partitions", len(o.Assignments), "damaged", o.Damaged, "no_room", left)
	return sess
}

// alsoFrom adds an older file of the session: its sidecar was killed before its client had said of
// all memberships where they stand. Of those that both name the newer one counts.
func (s *session) alsoFrom(o *sessionfile.Orphan) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o.App != s.app.Name || o.Client != s.client {
		o.Forget()
		return
	}
	s.held.Hear(assigned.FormerOf(o))
	s.book.add(lets(o))
}

// followFormer sees to a session of the sidecar before this one. Its client's Hello waits until the
// brokers were asked once; so does its grace.
func (w *wills) followFormer(sess *session) {
	breaks := sess.breaks
	w.waiting.Go(func() {
		w.brokers.Await(w.life)
		w.outlive(sess, breaks)
	})
}

// How long a session of the sidecar before this one waits. A client that went to Kafka directly
// while its sidecar was away comes back when that has been there for Fallback.Return, 10 s by
// default: a process of which nothing is known may be one. One that is proven to live is known to
// its group, and may not have run since on a busy machine.
const (
	formerUnknown = 15 // graces
	formerLives   = 30 * time.Second
)

// graces are how long the session waits for its client: whatever its process is, and if that is
// proven to live.
func (s *session) graces(usual time.Duration) (grace, living time.Duration) {
	if !s.fromFile {
		return usual, usual
	}
	return formerUnknown * usual, max(formerUnknown*usual, formerLives)
}
