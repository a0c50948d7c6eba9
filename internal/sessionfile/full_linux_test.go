//go:build !portable

package sessionfile

import (
	"errors"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"

	"golang.org/x/sys/unix"
)

// small is a directory of a tmpfs with room for so many bytes.
func small(t *testing.T, options string) string {
	t.Helper()
	at := t.TempDir()
	if err := unix.Mount("none", at, "tmpfs", 0, options); err != nil {
		t.Skipf("this system has no tmpfs that this process may mount: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return filepath.Join(at, "state")
}

// What has found room has it: everything of it may be written where it is mapped, when there is no
// space left for anything else.
func TestNoSIGBUSOnAFullTmpfs(t *testing.T) {
	d := open(t, small(t, "size=300k"))
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	var all []*File
	entries := 0
	for {
		f, err := d.Create(someone)
		if err == nil {
			all = append(all, f)
			err = f.SetMembership(member1)
		}
		for k := 0; err == nil && k < 8; k++ {
			var e *Entry
			if e, err = f.Enter(&Assignment{Group: "g", Consumer: 4, Member: "m-1", Epoch: uint64(k + 1), Topic: "in"}); err == nil {
				entries++
				e.Done(0, Window)
				e.Advance(10 * ringBits)
				e.Done(10*ringBits, 11*ringBits)
			}
		}
		for i := range 4 {
			m := member1
			if m.Generation = int32(i); err == nil {
				err = f.SetMembership(m)
			}
		}
		if err != nil {
			if !errors.Is(err, ErrFull) || !errors.Is(err, unix.ENOSPC) {
				t.Fatal(err)
			}
			break
		}
	}
	if len(all) < 2 || entries < 16 {
		t.Fatalf("%d files with %d assignments: the test would show nothing", len(all), entries)
	}
	for _, f := range all {
		f.Close(true)
	}
	for tries := 0; ; tries++ { // what was mapped goes with the garbage, and the pages with it
		runtime.GC()
		f, err := d.Create(someone)
		if err == nil {
			f.Close(true)
			return
		}
		if tries == 100 {
			t.Fatalf("there is room again: %v", err)
		}
	}
}

// A file system that has no inode left.
func TestNoInodeLeft(t *testing.T) {
	d := open(t, small(t, "nr_inodes=4")) // two are directories
	for range 2 {
		f, err := d.Create(someone)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close(true)
	}
	if _, err := d.Create(someone); !errors.Is(err, ErrFull) {
		t.Errorf("a third file: %v", err)
	}
}
