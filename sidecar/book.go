package sidecar

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/ackmark/ackmark/internal/configerr"
	"github.com/ackmark/ackmark/internal/sessionfile"
	"github.com/ackmark/ackmark/sidecar/internal/assigned"
	"github.com/ackmark/ackmark/sidecar/internal/limit"
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
	lacks atomic.Bool   // something was not written for want of room
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
	st := &state{dir: dir, log: cfg.Logger, freed: make(chan struct{}, 1)}
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
	case !s.resumable: // nobody will leave for it
	case blank && !heard: // it may have said of all that it has left
	case s.book.let == nil:
		st.begin(s)
	default:
		s.held.WriteRest()
	}
	begun, all := s.held.Written()
	if all || !heard && (begun || blank || !s.resumable) { // what they said is in its own file, or counts no more
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
			st.lacks.Store(true)
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
		if errors.Is(err, sessionfile.ErrFull) { // room may come: see rewrite
			st.lacks.Store(true)
		} else {
			s.book.let = func(bool) {}
		}
		return
	}
	if s.book.said {
		st.log.Info("a session is in the state directory after all", "app", s.app.Name, "session", s.id)
	}
	s.book.let = f.Close
	said := false // once: a client can have it happen as often as it likes
	write := s.held.WriteTo
	if s.claims != nil {
		write = s.held.WriteMembersTo
	}
	write(f, func(err error) {
		if errors.Is(err, sessionfile.ErrFull) {
			st.lacks.Store(true)
		}
		if said {
			return
		}
		said = true
		st.log.Warn("not in the state directory: if this process and the sidecar die together, what is done since the last commit is done again", "app", s.app.Name, "session", s.id, "err", err)
	})
}

// lookForRoom is how often it is looked whether there is room in the state directory, where there
// was none: who else writes into its file system does not tell.
const lookForRoom = 10 * time.Second

// rewrite writes what there was no room for, whenever a file has let room go: orphans take theirs
// until their wills are executed.
func (t *table) rewrite(ctx context.Context) {
	if t.state == nil {
		return
	}
	look := time.NewTicker(lookForRoom)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.state.freed:
		case <-look.C:
		}
		if !t.state.lacks.Swap(false) {
			continue
		}
		for _, s := range t.all() {
			t.state.write(s)
		}
	}
}

// keepFile keeps the session's file for the sidecar that comes next, or does not any more.
func (s *session) keepFile(keep bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.book.keep = keep
}
