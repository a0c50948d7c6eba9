//go:build linux || darwin

package boottime

import "golang.org/x/sys/unix"

func nanos() uint64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(clock, &ts); err != nil {
		return 0
	}
	return uint64(ts.Nano())
}
