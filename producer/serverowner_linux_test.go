//go:build !portable

package producer_test

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ackmark/ackmark/producer"
)

// listenAs listens as another user: Linux keeps the user for each thread, and remembers who began
// to listen.
func listenAs(t *testing.T, uid uintptr, path string) net.Listener {
	t.Helper()
	runtime.LockOSThread()
	become := func(uid uintptr) {
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, ^uintptr(0), uid, ^uintptr(0)); errno != 0 {
			t.Fatal(errno) // with this thread locked
		}
	}
	become(uid)
	lis, err := net.Listen("unix", path)
	become(0)
	runtime.UnlockOSThread()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lis.Close() })
	return lis
}

// The system's own word: another user in its own directory is trusted below root's directories, and
// not below one that everybody may write to.
func TestAnotherUserListens(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root listens as another user")
	}
	const other = 60001
	root, err := os.MkdirTemp("/run", "ackmark-owner-")
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	for name, x := range map[string]struct {
		mode    os.FileMode
		trusted bool
	}{"below root's": {0o755, true}, "in an emptyDir": {0o777, false}} {
		volume := filepath.Join(root, strings.Fields(name)[0])
		dir := filepath.Join(volume, "pod")
		for _, err := range []error{os.Chmod(root, 0o755), os.MkdirAll(dir, 0o755), os.Chmod(volume, x.mode), os.Chown(dir, other, other)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		path := filepath.Join(dir, "s.sock")
		lis := listenAs(t, other, path)
		said := make(chan int, 1)
		go func() {
			conn, err := lis.Accept()
			if err != nil {
				return
			}
			n, _ := conn.Read(make([]byte, 100))
			_ = conn.Close()
			said <- n
		}()
		p := producer.DialConfig{Target: "unix://" + path, CloseTimeout: time.Millisecond, Logger: slog.New(slog.DiscardHandler)}.New()
		err := p.Check(t.Context())
		if n := <-said; (n > 0) != x.trusted || strings.Contains(err.Error(), "uid 60001") == x.trusted {
			t.Errorf("%s: it heard %d bytes, want some: %t; Check returns %v", name, n, x.trusted, err)
		}
		_ = p.Close()
	}
}
