//go:build unix

package childproc

import (
	"syscall"
	"time"
)

// OwnCPUTime is the user and system time of this process.
func OwnCPUTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
