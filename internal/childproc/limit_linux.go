package childproc

import (
	"os"
	"os/exec"
	"syscall"
)

// startIn makes cmd start inside a cgroup: not a moment later, when it has allocated.
func startIn(cmd *exec.Cmd, dir string) (done func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(f.Fd())
	return func() { _ = f.Close() }, nil
}
