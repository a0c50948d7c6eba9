package boottime

import "golang.org/x/sys/unix"

// Darwin's CLOCK_MONOTONIC goes on while the machine sleeps (clock_gettime(3)), which Linux's does
// not.
const clock = unix.CLOCK_MONOTONIC
