package listen

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/ackmark/ackmark/internal/neterr"
	"github.com/ackmark/ackmark/internal/peercred"
)

const dialTimeout = time.Second

// Error tells why a unix socket cannot be listened on, and what to do.
type Error struct {
	Path, Reason string
	Err          error // nil if the reason is ours
}

// Error implements error.
func (e *Error) Error() string {
	text := fmt.Sprintf("socket %s: %s", e.Path, e.Reason)
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Unix opens a socket in a directory that nobody else can enter. A lock beside the socket
// decides between two sidecars that start at the same moment: both could find the same stale
// socket, and the second one remove what the first has just made.
func Unix(path string, mode fs.FileMode) (net.Listener, error) {
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
			return &Error{path, "its directory cannot be made", err}
		}
		if err := os.Mkdir(dir, own); err != nil && !errors.Is(err, fs.ErrExist) {
			return &Error{path, "its directory cannot be made", err}
		}
		made, err := os.Stat(dir)
		if err != nil {
			return &Error{path, "its directory cannot be looked at", err}
		}
		if err := os.Chmod(dir, own|made.Mode()&fs.ModeSetgid); err != nil { // not bent by the umask, of the group of the volume
			return &Error{path, "its directory cannot be protected", err}
		}
		return nil
	}
	if err != nil {
		return &Error{path, "its directory cannot be looked at", err}
	}
	if !info.IsDir() {
		return &Error{path, dir + " is not a directory", nil}
	}
	if open := info.Mode().Perm() &^ mode; open != 0 && hasModes {
		return &Error{path, fmt.Sprintf("directory %s has mode %#o, which lets others in: chmod it to %#o, set SocketMode 0770 for its group, "+
			"or name a directory in it that does not exist yet, and the sidecar makes it", dir, info.Mode().Perm(), mode), nil}
	}
	if info.Mode().Perm()&0o020 != 0 && info.Mode()&fs.ModeSticky == 0 {
		return &Error{path, fmt.Sprintf("its group may write to directory %s (mode %#o), and replace the socket: chmod it to 0750 or 1770, "+
			"or name a directory in it that does not exist yet, and the sidecar makes it", dir, info.Mode().Perm()), nil}
	}
	return nil
}

func lockSocket(path string) (*os.File, error) {
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR|noFollow, 0o600)
	if err != nil {
		return nil, &Error{path, "its lock file cannot be opened", err}
	}
	if err := lockFile(lock); err != nil {
		_ = lock.Close()
		return nil, &Error{path, "another sidecar serves it: stop that one, or give this one another path", nil}
	}
	return lock, nil
}

// replaceSocket listens, after removing a socket that a dead process left: one on which nobody
// answers.
func replaceSocket(path string, mode fs.FileMode) (net.Listener, error) {
	switch info, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, &Error{path, "cannot be looked at", err}
	case info.Mode().Type() != fs.ModeSocket:
		return nil, &Error{path, "is there and is no socket: remove it, or choose another path", nil}
	default:
		if err := removeStale(path); err != nil {
			return nil, err
		}
	}
	lis, err := net.Listen("unix", path)
	if err != nil {
		return nil, &Error{path, "cannot be listened on", err}
	}
	if gid, ok := GroupOf(filepath.Dir(path)); ok && mode&0o070 != 0 {
		_ = os.Lchown(path, -1, int(gid)) // the directory's group is who may connect; it is its own with setgid
	}
	if err := os.Chmod(path, mode&0o660); err != nil {
		_ = lis.Close()
		return nil, &Error{path, "cannot be protected", err}
	}
	return lis, nil
}

// GroupOf is the group of a file.
func GroupOf(path string) (uint32, bool) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, false
	}
	_, gid, ok := peercred.Owner(info)
	return gid, ok
}

func removeStale(path string) error {
	conn, err := net.DialTimeout("unix", path, dialTimeout)
	if err == nil {
		_ = conn.Close()
		return &Error{path, "another process serves it: stop that one, or choose another path", nil}
	}
	if !neterr.Refused(err) {
		return &Error{path, "it is not clear whether another process serves it", err}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return &Error{path, "the stale socket of a dead process cannot be removed", err}
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
