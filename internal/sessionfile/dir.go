package sessionfile

import (
	"errors"
	"io"
	"sync/atomic"
)

// Dir is a directory of session files, of one user. Several processes may have it, but only one
// that writes down sessions of others: see [Dir.Own].
type Dir struct {
	path  string
	limit int64
	used  atomic.Int64
	boot  string       // this boot
	pids  string       // the namespace of process ids that this process is in
	share func() Room  // of each file; nil: each takes what the limit leaves
	freed func()       // is called when a file has given back its room; nil: nobody
	owned io.Closer    // by this process, see Own
	short func() error // tests: the file system has no space left
}

// fullError is ErrFull for what is not the directory's limit.
type fullError struct{ err error }

// Error implements error.
func (e *fullError) Error() string { return "its file system has no space left: " + e.err.Error() }

// Is makes it ErrFull.
func (e *fullError) Is(target error) bool { return target == ErrFull }

// Unwrap is what the system said.
func (e *fullError) Unwrap() error { return e.err }

// Room is what one file may take of a directory's limit.
type Room interface {
	Take(n int64) bool
	Give(n int64)
	Close()
}

// Share gives each file that is created from now on a room of its own within the limit.
func (d *Dir) Share(share func() Room) { d.share = share }

// Freed has a function called whenever a file is closed, or an orphan let go: who found no room may
// find it then. It must not block, or call back.
func (d *Dir) Freed(f func()) { d.freed = f }

func (d *Dir) hasRoom() {
	if d.freed != nil {
		d.freed()
	}
}

// ErrOwned says that another process writes sessions into the directory. It would execute the wills
// of this one's sessions, and this one those of its.
var ErrOwned = errors.New("another sidecar has it: its sessions are not this one's")

// Release ends what Own began.
func (d *Dir) Release() {
	if d.owned != nil {
		_ = d.owned.Close()
	}
}

// DefaultLimit is how much memory the files of a directory may take, unless it is said otherwise.
const DefaultLimit int64 = 64 << 20

// charge takes bytes of the limit, or gives them back. False: it has no room.
func (d *Dir) charge(n int64) bool {
	if d.used.Add(n) > d.limit && n > 0 {
		d.used.Add(-n)
		return false
	}
	return true
}

// Used is what the files take of the limit, in bytes.
func (d *Dir) Used() int64 { return d.used.Load() }

// Orphan is the file of a session whose writer has ended. Who has it is alone with it, until Forget
// or Keep.
type Orphan struct {
	Session
	// Begun is when it was created, in nanoseconds since the boot.
	Begun       uint64
	Memberships []Membership
	Assignments []Assignment
	// Damaged is how many parts of it are not believed.
	Damaged int
	// OtherPIDs: Session.Process was named in another namespace of process ids: it says nothing
	// here.
	OtherPIDs bool
	// Path is for logs.
	Path string

	end func(remove bool)
}

// Forget removes the file: its will was executed, or is none.
func (o *Orphan) Forget() { o.end(true) }

// Keep leaves the file to who comes next.
func (o *Orphan) Keep() { o.end(false) }
