package producer

import "golang.org/x/sys/unix"

// bootNanos is the boot-time clock, which both ends of a unix socket share; wall clocks may jump, and the monotonic one stands still while the machine
// sleeps. 0: this system has none.
func bootNanos() uint64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0
	}
	return uint64(ts.Nano())
}
