package sidecar

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ackmark/ackmark/internal/configerr"
	"github.com/ackmark/ackmark/internal/sessionfile"
	"github.com/ackmark/ackmark/sidecar/internal/assigned"
	"github.com/ackmark/ackmark/sidecar/internal/limit"
	"github.com/ackmark/ackmark/sidecar/internal/peer"
)

// book is where a session stands in the state directory. Its session's lock guards it; the zero
// value is a session that is not written down.
type book struct {
	let  func(remove bool) // lets the file go
	said bool              // that it has none
	keep bool              // the file does, for the next sidecar: the session has not ended, this sidecar does
	// former let the files go of sessions before this one, the newest first: what they say is not
	// all in its own.
	former []func(remove bool)
}

// maxFormer bounds a session's former files: a client that begins anew and anew without a word
// would fill the directory.
const maxFormer = 4

// end lets the files go with the session, which was in that state.
func (b *book) end(was sessionState, cause error) {
	remove := !b.keep && (was == stateGoodbye || was == stateFinishing || !errors.Is(cause, errStopped))
	if b.let != nil {
		b.let(remove)
		b.let = nil
	}
	b.endFormer(remove)
}

func (b *book) endFormer(remove bool) {
	for _, let := range b.former {
		let(remove)
	}
	b.former = nil
}

// add adds a former file, the oldest of them.
func (b *book) add(let func(remove bool)) {
	if len(b.former) == maxFormer {
		let(true)
		return
	}
	b.former = append(b.former, let)
}

// lets is how to let an orphan go.
func lets(o *sessionfile.Orphan) func(remove bool) {
	return func(remove bool) {
		if remove {
			o.Forget()
		} else {
			o.Keep()
		}
	}
}

// takeOver ends the session that a client begins anew, and leaves to the next one what is known of
// its process: until that has said where it stands, this is its will. Left is how much of it there
// was no room for. Not ok: the old one's own will is being executed, or was.
func (s *session) takeOver(old *session) (left int, ok bool) {
	old.mu.Lock()
	if old.state.closed() {
		old.mu.Unlock()
		return 0, false
	}
	var files book
	if !old.state.ended() {
		files, old.book = old.book, book{}
	}
	former := old.held.Former()
	old.endLocked(errReplaced)
	before := append(old.before, old.landed)
	old.mu.Unlock()

	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = slices.DeleteFunc(before, closed)
	left = s.held.Hear(former)
	if files.let != nil {
		s.book.add(files.let)
	}
	for _, let := range files.former {
		s.book.add(let)
	}
	return left, true
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// speaks is called when the session's process has said where a membership stands; more of it may
// come.
func (s *session) speaks(of assigned.MemberKey, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.resumable: // there will be no will
		s.held.Unhear()
	case !more:
		s.held.Told(of)
	}
}

// state is the state directory; nil: there is none.
type state struct {
	dir   *sessionfile.Dir
	log   *slog.Logger
	freed chan struct{} // a file has let its room go
}

func openState(cfg *Config) (*state, error) {
	if cfg.StateDir == "" {
		return nil, nil
	}
	dir, err := sessionfile.Open(cfg.StateDir, cfg.StateBytes)
	if err == nil {
		err = dir.Own()
	}
	if err != nil {
		return nil, stateFailed(cfg, err)
	}
	common := limit.NewCommons(cfg.StateBytes, cfg.MaxSessions)
	dir.Share(func() sessionfile.Room {
		share := common.Share()
		return &share
	})
	st := &state{dir, cfg.Logger, make(chan struct{}, 1)}
	dir.Freed(func() {
		select {
		case st.freed <- struct{}{}:
		default: // somebody will look anyway
		}
	})
	return st, nil
}

// close leaves the directory to the next sidecar.
func (st *state) close() {
	if st != nil {
		st.dir.Release()
	}
}

func stateFailed(cfg *Config, err error) error {
	wrong := configerr.For("sidecar.Config")
	wrong.Failed("StateDir", cfg.StateDir, err, "give the sidecar a directory of its own, best in memory; or none: then app and sidecar that die together repeat what was done since the last commit")
	return wrong.Err()
}

// write gives a session its file, with the first that is known of its process, and writes what
// there was no room for before. Without one it is as without a state directory: if its process and
// this one die together, nobody commits for it.
func (st *state) write(s *session) {
	if st == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state.over() || s.fromFile {
		return
	}
	blank, heard := s.held.Blank(), s.held.Hears()
	switch {
	case !s.resumable || s.claims != nil: // nothing that is done is left to commit
	case blank && !heard: // it may have said of all that it has left
	case s.book.let == nil:
		st.begin(s)
	default:
		s.held.WriteRest()
	}
	begun, all := s.held.Written()
	if all || !heard && (begun || blank || s.claims != nil || !s.resumable) { // what they said is in its own file, or counts no more
		s.book.endFormer(true)
	}
}

// begin makes a session's file. mu is held.
func (st *state) begin(s *session) {
	about := sessionfile.Session{App: s.app.Name, ID: s.id, Client: s.client, UID: s.peer.UID, Certificate: s.peer.Certificate}
	if s.peer.Conn != nil {
		about.Process, _ = sessionfile.Find(s.peer.PID)
		about.Process.PID, about.Process.Inode, about.Local = s.peer.PID, s.peer.Inode, true
	}
	f, err := st.dir.Create(about)
	if errors.Is(err, sessionfile.ErrFull) && len(s.book.former) > 0 {
		if s.held.Hears() {
			return // their room will be its own
		}
		s.book.endFormer(true)
		f, err = st.dir.Create(about)
	}
	if err != nil {
		if !s.book.said {
			st.log.Warn("a session is not in the state directory: if its process and the sidecar die together, nobody commits for it", "app", s.app.Name, "session", s.id, "err", err)
		}
		s.book.said = true
		if !errors.Is(err, sessionfile.ErrFull) { // room may come: see rewrite
			s.book.let = func(bool) {}
		}
		return
	}
	s.book.let = f.Close
	said := false // once: a client can have it happen as often as it likes
	s.held.WriteTo(f, func(err error) {
		if said {
			return
		}
		said = true
		st.log.Warn("not in the state directory: if this process and the sidecar die together, what is done since the last commit is done again", "app", s.app.Name, "session", s.id, "err", err)
	})
}

// rewrite writes what there was no room for, whenever a file has let room go: orphans take theirs
// until their wills are executed.
func (t *table) rewrite(ctx context.Context) {
	if t.state == nil {
		return
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.state.freed:
		}
		for _, s := range t.all() {
			t.state.write(s)
		}
	}
}

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
		s.wills.stats.restored.Add(1)
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

// keepFile keeps the session's file for the sidecar that comes next, or does not any more.
func (s *session) keepFile(keep bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.book.keep = keep
}
