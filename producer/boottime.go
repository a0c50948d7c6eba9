package producer

import "github.com/ackmark/ackmark/internal/boottime"

// bootNanos is the clock that units expire by. 0: this system has none.
func bootNanos() uint64 { return boottime.Nanos() }
