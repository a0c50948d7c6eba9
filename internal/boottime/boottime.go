// Package boottime is the clock that both ends of a unix socket share: units expire by it. Wall
// clocks may jump, and the monotonic one stands still while the machine sleeps.
package boottime

import "sync/atomic"

var instead atomic.Pointer[func() uint64]

// Nanos returns the nanoseconds since the machine started, or 0 where this cannot be told: then
// nothing expires.
func Nanos() uint64 {
	if fn := instead.Load(); fn != nil {
		return (*fn)()
	}
	return nanos()
}

// Replace puts another clock in its place until restore is called, for a simulation: the real one
// does not follow a bubble's time.
func Replace(now func() uint64) (restore func()) {
	before := instead.Swap(&now)
	return func() { instead.Store(before) }
}
