//go:build (linux || darwin) && !portable

package sessionfile

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ackmark/ackmark/internal/boottime"
)

// Supported says whether this system has session files.
const Supported = true

const suffix = ".ackmark-session"

// Open returns the directory, which is made if it is not there. It must be this user's own, and
// nobody else may write in it: who can would speak for the dead.
func Open(path string, limit int64) (*Dir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	owner, _ := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.IsDir():
		return nil, fmt.Errorf("%s is a %s, not a directory", path, kind(info))
	case owner != nil && int(owner.Uid) != os.Geteuid():
		return nil, fmt.Errorf("%s belongs to uid %d, this process is %d: give it a directory of its own", path, owner.Uid, os.Geteuid())
	case info.Mode().Perm()&0o022 != 0:
		return nil, fmt.Errorf("%s has mode %04o: others may write in it, and could speak for a dead process; chmod 0700 it", path, info.Mode().Perm())
	}
	boot, err := bootID()
	if err != nil {
		return nil, fmt.Errorf("this boot has no id: %w", err)
	}
	return &Dir{path: path, limit: limit, boot: boot, pids: pidNamespace()}, nil
}

func kind(info fs.FileInfo) string {
	if info.Mode()&fs.ModeSymlink != 0 {
		return "link"
	}
	return "file"
}

// Own makes this process the one that writes down sessions of others here, until Release: two
// sidecars would take each other's sessions for orphans. Processes that write their own file only
// are beside it.
func (d *Dir) Own() error {
	f, err := os.OpenFile(filepath.Join(d.path, "owner.lock"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return err
	}
	switch err := lock(f); {
	case errors.Is(err, unix.EWOULDBLOCK):
		_ = f.Close()
		return fmt.Errorf("%s: %w", d.path, ErrOwned)
	case err != nil:
		_ = f.Close()
		return os.NewSyscallError("flock", err)
	}
	d.owned = f
	return nil
}

// Create begins the file of a session. It is this process's until it ends.
func (d *Dir) Create(s Session) (*File, error) {
	h := header{Boot: d.boot, PIDs: d.pids, Begun: boottime.Nanos(), Session: s}
	first, err := h.encode()
	if err != nil {
		return nil, err
	}
	f := &File{dir: d, members: make(map[memberKey]*member)}
	if d.share != nil {
		f.room = d.share()
	}
	if !f.charge(fileCost) {
		f.release()
		return nil, ErrFull
	}
	on, err := d.create()
	if err != nil {
		f.release()
		return nil, asFull(err)
	}
	f.file = on
	if err = on.f.Truncate(cellsAt); err == nil {
		if err = on.write(first, 0); err == nil {
			f.top, err = on.mapping(0, cellsAt)
		}
	}
	if err != nil { // there is no more room than before: nobody is told of any
		on.end(true)
		f.release()
		return nil, asFull(err)
	}
	return f, nil
}

// asFull has an error be ErrFull if it says that the file system has no room.
func asFull(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return &fullError{err}
	}
	return err
}

func (d *Dir) create() (*onDisk, error) {
	for {
		path := filepath.Join(d.path, strings.ToLower(rand.Text())+suffix)
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, err
		}
		on := &onDisk{f, path, d.short}
		own, err := on.own()
		if own {
			return on, nil
		}
		_ = f.Close() // somebody looked at it before it had a word in it, and takes it away
		if err != nil {
			_ = os.Remove(path)
			return nil, err
		}
	}
}

// own takes the lock of a file that is there. If somebody else has it, or has removed the file, it
// is not ours; the error is for a directory that cannot say.
func (o *onDisk) own() (bool, error) {
	if err := lock(o.f); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return false, nil
		}
		return false, fmt.Errorf("lock a file: %w", err)
	}
	here, err := o.f.Stat()
	if err != nil {
		return false, err
	}
	there, err := os.Lstat(o.path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(here, there), err
}

// lock is held by the writer for as long as it lives, or by who executes the will.
func lock(f *os.File) error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }

type onDisk struct {
	f     *os.File
	path  string
	short func() error // tests
}

var zeros [cellBytes]byte

// take writes, since that takes blocks, or pages of a tmpfs: what is written later where it is
// mapped finds them, and is no SIGBUS of a full disk.
func (o *onDisk) take(at, n int64) error { return asFull(o.write(zeros[:n], at)) }

func (o *onDisk) write(b []byte, at int64) error {
	if o.short != nil {
		if err := o.short(); err != nil {
			return err
		}
	}
	_, err := o.f.WriteAt(b, at)
	return err
}

func (o *onDisk) mapping(at, n int64) (*mapping, error) {
	if info, err := o.f.Stat(); err != nil {
		return nil, err
	} else if info.Size() < at+n {
		if err := o.f.Truncate(at + n); err != nil {
			return nil, err
		}
	}
	b, err := unix.Mmap(int(o.f.Fd()), at, int(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	m := &mapping{words: unsafe.Slice((*uint64)(unsafe.Pointer(&b[0])), n/8)}
	runtime.AddCleanup(m, func(b []byte) { _ = unix.Munmap(b) }, b)
	return m, nil
}

func (o *onDisk) end(remove bool) {
	if remove {
		_ = os.Remove(o.path)
	}
	_ = unix.Flock(int(o.f.Fd()), unix.LOCK_UN) // what is mapped would hold it
	_ = o.f.Close()
}

// taken is what a file takes of memory, or of a disk.
func taken(info fs.FileInfo) int64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Blocks * 512
	}
	return info.Size()
}

// Orphans are the files whose writers have ended, the newest first. Of one that is no last will, no
// is told why, and the file is removed.
func (d *Dir) Orphans(no func(path string, why error)) ([]*Orphan, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, err
	}
	var all []*Orphan
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), suffix) {
			continue
		}
		path := filepath.Join(d.path, e.Name())
		o, err := d.adopt(path)
		switch {
		case errors.Is(err, errNoWill):
			no(path, err)
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			no(path, err)
		case o != nil:
			all = append(all, o)
		}
	}
	slices.SortStableFunc(all, func(a, b *Orphan) int { return cmp.Compare(b.Begun, a.Begun) })
	return all, nil
}

// adopt returns nothing for a file whose writer lives, or that somebody else has.
func (d *Dir) adopt(path string) (*Orphan, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); !info.Mode().IsRegular() || ok && int(owner.Uid) != os.Geteuid() || info.Mode().Perm()&0o077 != 0 {
		_ = f.Close()
		return nil, fmt.Errorf("it is left alone: no file of this user's alone (mode %s)", info.Mode())
	}
	on := &onDisk{f: f, path: path}
	if own, _ := on.own(); !own {
		on.end(false)
		return nil, nil // its writer lives, or somebody else has it, or it is gone
	}
	c, err := read(f)
	if err == nil && c.Boot != d.boot {
		err = fmt.Errorf("%w: it is of before a reboot", errNoWill)
	}
	if err != nil {
		on.end(true)
		return nil, err
	}
	cost := taken(info)
	d.used.Add(cost) // it is there, whatever the limit says: what is new has less
	return &Orphan{
		Session: c.Session, Begun: c.Begun, Memberships: c.members, Assignments: c.assignments, Damaged: c.damaged,
		OtherPIDs: c.PIDs != d.pids || d.pids == "", Path: path, end: func(remove bool) {
			on.end(remove)
			d.used.Add(-cost)
			d.hasRoom()
		},
	}, nil
}
