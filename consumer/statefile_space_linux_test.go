//go:build !portable

package consumer

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// The state directory's file system is full: the consumer begins all the same, and says it once. It
// looks now and then whether there is room, and has a file then.
func TestAStateDirectoryWithoutSpace(t *testing.T) {
	at := t.TempDir()
	if err := unix.Mount("none", at, "tmpfs", 0, "size=100k"); err != nil {
		t.Skipf("this system has no tmpfs that this process may mount: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
	dir, ballast := filepath.Join(at, "state"), filepath.Join(at, "ballast")
	wantNil(t, os.Mkdir(dir, 0o700))
	if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); err == nil {
		t.Fatal("it is not full")
	}
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.feed(0, 100)
		var s seen
		cfg := l.config()
		cfg.StateDir = dir
		m := l.start(cfg, s.deliver)
		l.untilCommitted(0, 100)
		time.Sleep(time.Minute)
		if n, said := len(stateFiles(t, dir)), strings.Count(l.logs.String(), "the session file could not be written"); n != 0 || said != 1 {
			t.Fatalf("%d files, said %d times:\n%s", n, said, l.logs.String())
		}
		wantNil(t, os.Remove(ballast))
		time.Sleep(time.Minute)
		synctest.Wait()
		files := stateFiles(t, dir)
		if len(files) != 1 {
			t.Fatalf("%d files where there is room", len(files))
		}
		there := t.TempDir()
		copyFile(t, files[0], filepath.Join(there, filepath.Base(files[0])))
		if id, _ := memberInFile(t, there); id != m.State().Membership.MemberID {
			t.Errorf("the file is of member %q", id)
		}
		wantNil(t, m.stop())
		if n := len(stateFiles(t, dir)); n != 0 {
			t.Errorf("%d files are left by a consumer that ended in order", n)
		}
	})
}
