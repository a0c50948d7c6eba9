//go:build linux && !portable

package peer

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ackmark/ackmark/internal/sessionfile"
)

// A sidecar that has one descriptor left when it begins takes nobody for dead.
func TestALivingProcessIsNotDeadForWantOfDescriptors(t *testing.T) {
	self, ok := sessionfile.Find(int32(os.Getpid()))
	if !ok {
		t.Skip("this system has no /proc: no process is known by it")
	}
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		t.Fatal(err)
	}
	low := lim
	low.Cur = 128
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &lim) }()
	var fds []int
	for {
		fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			break
		}
		fds = append(fds, fd)
	}
	_ = unix.Close(fds[len(fds)-1])
	p := Former(self)
	dead := p.ProvenDead()
	p.Close()
	for _, fd := range fds[:len(fds)-1] {
		_ = unix.Close(fd)
	}
	if dead {
		t.Error("this process is proven dead, and its will is executed at once")
	}
}
