package demo

import "syscall"

// childAttributes: a process group of its own, so that Ctrl-C reaches the parent only, which stops
// the children in order; and death with the parent, also when that is killed.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
