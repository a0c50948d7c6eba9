package sidecar

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ackmark/ackmark/internal/neterr"
)

const dialTimeout = time.Second

func (s *Server) isUnix() bool { return strings.HasPrefix(s.cfg.Listen, "unix://") }

// listen opens the listener, with its limit of connections.
func (s *Server) listen() (net.Listener, error) {
	lis, err := s.openListener()
	if err != nil {
		return nil, err
	}
	return &limitListener{Listener: lis, server: s, open: make(chan struct{}, s.cfg.MaxConnections)}, nil
}

func (s *Server) openListener() (net.Listener, error) {
	switch {
	case s.cfg.Listener != nil:
		return s.cfg.Listener, nil
	case s.isUnix():
		return listenUnix(strings.TrimPrefix(s.cfg.Listen, "unix://"), s.cfg.SocketMode)
	}
	lis, err := net.Listen("tcp", strings.TrimPrefix(s.cfg.Listen, "tcp://"))
	if err != nil {
		return nil, fmt.Errorf("sidecar: %w", err)
	}
	return lis, nil
}

// SocketError tells why the unix socket cannot be listened on, and what to do.
type SocketError struct {
	Path, Reason string
	Err          error // nil if the reason is ours
}

// Error implements error.
func (e *SocketError) Error() string {
	text := fmt.Sprintf("sidecar: socket %s: %s", e.Path, e.Reason)
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns the cause.
func (e *SocketError) Unwrap() error { return e.Err }

// listenUnix opens a socket in a directory that nobody else can enter. A lock beside the socket
// decides between two sidecars that start at the same moment: both could find the same stale
// socket, and the second one remove what the first has just made.
func listenUnix(path string, mode fs.FileMode) (net.Listener, error) {
	if err := prepareDir(filepath.Dir(path), path, mode); err != nil {
		return nil, err
	}
	lock, err := lockSocket(path)
	if err != nil {
		return nil, err
	}
	lis, err := replaceSocket(path, mode)
	if err != nil {
		_ = lock.Close()
		return nil, err
	}
	return &unixListener{Listener: lis, lock: lock}, nil
}

// prepareDir makes the directory, or checks the one that is there. It never changes one that it did
// not make: it may be /tmp.
func prepareDir(dir, path string, mode fs.FileMode) error {
	own := mode &^ 0o020 // the group may enter; who could write there could replace the socket
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
			return &SocketError{path, "its directory cannot be made", err}
		}
		if err := os.Mkdir(dir, own); err != nil && !errors.Is(err, fs.ErrExist) {
			return &SocketError{path, "its directory cannot be made", err}
		}
		made, err := os.Stat(dir)
		if err != nil {
			return &SocketError{path, "its directory cannot be looked at", err}
		}
		if err := os.Chmod(dir, own|made.Mode()&fs.ModeSetgid); err != nil { // not bent by the umask, of the group of the volume
			return &SocketError{path, "its directory cannot be protected", err}
		}
		return nil
	}
	if err != nil {
		return &SocketError{path, "its directory cannot be looked at", err}
	}
	if !info.IsDir() {
		return &SocketError{path, dir + " is not a directory", nil}
	}
	if open := info.Mode().Perm() &^ mode; open != 0 && hasModes {
		return &SocketError{path, fmt.Sprintf("directory %s has mode %#o, which lets others in: chmod it to %#o, set SocketMode 0770 for its group, "+
			"or name a directory in it that does not exist yet, and the sidecar makes it", dir, info.Mode().Perm(), mode), nil}
	}
	if info.Mode().Perm()&0o020 != 0 && info.Mode()&fs.ModeSticky == 0 {
		return &SocketError{path, fmt.Sprintf("its group may write to directory %s (mode %#o), and replace the socket: chmod it to 0750 or 1770, "+
			"or name a directory in it that does not exist yet, and the sidecar makes it", dir, info.Mode().Perm()), nil}
	}
	return nil
}

func lockSocket(path string) (*os.File, error) {
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR|noFollow, 0o600)
	if err != nil {
		return nil, &SocketError{path, "its lock file cannot be opened", err}
	}
	if err := lockFile(lock); err != nil {
		_ = lock.Close()
		return nil, &SocketError{path, "another sidecar serves it: stop that one, or give this one another path", nil}
	}
	return lock, nil
}

// replaceSocket listens, after removing a socket that a dead process left: one on which nobody
// answers.
func replaceSocket(path string, mode fs.FileMode) (net.Listener, error) {
	switch info, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, &SocketError{path, "cannot be looked at", err}
	case info.Mode().Type() != fs.ModeSocket:
		return nil, &SocketError{path, "is there and is no socket: remove it, or choose another path", nil}
	default:
		if err := removeStale(path); err != nil {
			return nil, err
		}
	}
	lis, err := net.Listen("unix", path)
	if err != nil {
		return nil, &SocketError{path, "cannot be listened on", err}
	}
	if gid, ok := groupOf(filepath.Dir(path)); ok && mode&0o070 != 0 {
		_ = os.Lchown(path, -1, int(gid)) // the directory's group is who may connect; it is its own with setgid
	}
	if err := os.Chmod(path, mode&0o660); err != nil {
		_ = lis.Close()
		return nil, &SocketError{path, "cannot be protected", err}
	}
	return lis, nil
}

func removeStale(path string) error {
	conn, err := net.DialTimeout("unix", path, dialTimeout)
	if err == nil {
		_ = conn.Close()
		return &SocketError{path, "another process serves it: stop that one, or choose another path", nil}
	}
	if !neterr.Refused(err) {
		return &SocketError{path, "it is not clear whether another process serves it", err}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return &SocketError{path, "the stale socket of a dead process cannot be removed", err}
	}
	return nil
}

type unixListener struct {
	net.Listener
	lock *os.File
	once sync.Once
}

// Close removes the socket and lets the next sidecar have the path.
func (l *unixListener) Close() error {
	err := l.Listener.Close()
	l.once.Do(func() { _ = l.lock.Close() })
	return err
}

// limitListener closes connections above the limit at once: a client that is let wait would not
// know why.
type limitListener struct {
	net.Listener
	server *Server
	open   chan struct{}
}

func (l *limitListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case l.open <- struct{}{}:
			return &limitConn{Conn: conn, open: l.open}, nil
		default:
			l.server.log.Warn("refused a connection: the limit is reached; raise MaxConnections", "limit", cap(l.open))
			_ = conn.Close()
		}
	}
}

// limitConn is a connection that counts against the limit.
type limitConn struct {
	net.Conn
	open      chan struct{}
	once      sync.Once
	receivers atomic.Int32 // of its streams
	busy      atomic.Int32 // of them at a message, not waiting for one
	ended     atomic.Bool  // by its peer, which may not be told yet
}

const (
	// lastWords is how long the end of a connection is kept back at most while its receivers are at
	// what came before it.
	lastWords     = 50 * time.Millisecond
	lastWordsLook = time.Millisecond
)

// Read tells the end of the connection only when its receivers have read what came before it, or
// after a moment. When a connection ends gRPC drops what they have not read: a Release of a process
// that died right after it, or that a stopped sidecar finds in its socket, would not be heard
// before the will.
func (c *limitConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil && n == 0 && !errors.Is(err, net.ErrClosed) {
		c.ended.Store(true)
		c.hearOut()
	}
	return n, err
}

func (c *limitConn) hearOut() {
	idle := 0
	for begun := time.Now(); c.receivers.Load() > 0 && time.Since(begun) < lastWords; {
		time.Sleep(lastWordsLook)
		if c.busy.Load() > 0 {
			idle = 0
		} else if idle++; idle == 2 { // a receiver that was just woken is not busy yet
			return
		}
	}
}

func (c *limitConn) Close() error {
	c.once.Do(func() { <-c.open })
	return c.Conn.Close()
}

func unwrap(c net.Conn) net.Conn {
	if l, ok := c.(*limitConn); ok {
		return l.Conn
	}
	return c
}
