//go:build !(linux || darwin) || portable

package sessionfile

import "errors"

// Supported says whether this system has session files.
const Supported = false

// Open returns an error: this system has no session files.
func Open(string, int64) (*Dir, error) {
	return nil, errors.New("this system has no session files: leave the state directory empty")
}

// Own is not reached.
func (*Dir) Own() error { return errors.ErrUnsupported }

// Create is not reached.
func (*Dir) Create(Session) (*File, error) { return nil, errors.ErrUnsupported }

// Orphans is not reached.
func (*Dir) Orphans(func(string, error)) ([]*Orphan, error) { return nil, errors.ErrUnsupported }

// Find finds nothing.
func Find(int32) (Process, bool) { return Process{}, false }
