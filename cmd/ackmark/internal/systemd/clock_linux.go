package systemd

import "golang.org/x/sys/unix"

// monotonic is CLOCK_MONOTONIC, by which systemd tells which reload is meant.
func monotonic() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0
	}
	return ts.Nano() / 1000
}
