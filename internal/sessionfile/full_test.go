//go:build (linux || darwin) && !portable

package sessionfile

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A file system without space is as full as a directory at its limit, and says so. Nobody is told
// of room by a file that could not begin: who hears of some would try again, and again.
func TestAFileSystemWithoutSpace(t *testing.T) {
	d := open(t, t.TempDir())
	freed := 0
	d.Freed(func() { freed++ })
	f, _ := begin(t, d)
	used := d.Used()
	for _, why := range []error{unix.ENOSPC, unix.EDQUOT} {
		no := &os.PathError{Op: "write", Path: "it", Err: why}
		d.short = func() error { return no }
		f.file.(*onDisk).short = d.short
		_, enters := f.Enter(&Assignment{Group: "g", Consumer: 4, Member: "m-1", Epoch: 4, Topic: "in"})
		_, begins := d.Create(someone)
		for what, err := range map[string]error{"a file": begins, "an assignment": enters, "a membership": f.SetMembership(Membership{Group: "another", ID: "m"})} {
			if !errors.Is(err, ErrFull) || !errors.Is(err, why) || !strings.Contains(err.Error(), "no space left") {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
	if n := files(t, d.path); n != 1 || d.Used() != used || freed != 0 {
		t.Errorf("%d files, %d bytes used instead of %d, and %d times was said that there is room", n, d.Used(), used, freed)
	}
	d.short, f.file.(*onDisk).short = nil, nil
	if _, err := f.Enter(&Assignment{Group: "g", Consumer: 4, Member: "m-1", Epoch: 4, Topic: "in"}); err != nil {
		t.Error(err)
	}
	f.Close(true)
	if d.Used() != 0 || freed != 1 {
		t.Errorf("%d bytes used, %d times was said that there is room", d.Used(), freed)
	}
}
