//go:build unix

package consumer

import "syscall"

// cpuTime is this process's, in nanoseconds: wall time says little where other programs run too.
func cpuTime() int64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return u.Utime.Nano() + u.Stime.Nano()
}
