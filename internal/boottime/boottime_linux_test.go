package boottime

import (
	"testing"

	"golang.org/x/sys/unix"
)

// It is the clock that goes on while the machine sleeps, whole: seconds and nanoseconds.
func TestItIsTheBootTime(t *testing.T) {
	read := func() uint64 {
		var ts unix.Timespec
		if err := unix.ClockGettime(7, &ts); err != nil { // CLOCK_BOOTTIME, clock_gettime(2)
			t.Fatal(err)
		}
		return uint64(ts.Sec)*1e9 + uint64(ts.Nsec)
	}
	before, n, after := read(), Nanos(), read()
	if n < before || n > after {
		t.Errorf("%d is not between %d and %d", n, before, after)
	}
}
