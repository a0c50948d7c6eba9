//go:build linux && !portable

package peer

import (
	"errors"
	"os"
	"os/exec"
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

// A process that was dead already when its session was written down is known by its id alone, or by
// its inode: that is enough to know that it is dead, and no will waits for it.
func TestAProcessWithoutItsStart(t *testing.T) {
	child := exec.Command("/bin/sh", "-c", "read -r _")
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	pid := int32(child.Process.Pid)
	living, unknown := Watch(mustPidfd(t, pid)), Former(sessionfile.Process{PID: pid})
	inode := living.inode()
	living.Close()
	if unknown.ProvenDead() || unknown.ProvenAlive() {
		t.Error("something is known of a process by a number that another one may have")
	}
	if inode != 0 {
		same, other := Former(sessionfile.Process{PID: pid, Inode: inode}), Former(sessionfile.Process{PID: pid, Inode: inode + 1})
		if !same.ProvenAlive() || same.ProvenDead() {
			t.Error("a living process is not known by its inode")
		}
		if !other.ProvenDead() {
			t.Error("a process whose id another one has by now is not dead")
		}
		same.Close()
	}
	if err := errors.Join(in.Close(), ignoreExit(child.Wait())); err != nil {
		t.Fatal(err)
	}
	for _, was := range []sessionfile.Process{{PID: pid}, {PID: pid, Inode: inode}} {
		if p := Former(was); !p.ProvenDead() {
			t.Errorf("%+v has ended, and is not proven dead", was)
		}
	}
}

func mustPidfd(t *testing.T, pid int32) int {
	t.Helper()
	fd, err := unix.PidfdOpen(int(pid), 0)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

func ignoreExit(err error) error {
	if _, ended := errors.AsType[*exec.ExitError](err); ended {
		return nil
	}
	return err
}
