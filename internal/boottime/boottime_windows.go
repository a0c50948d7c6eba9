package boottime

import "golang.org/x/sys/windows"

// nanos is GetTickCount64: it includes sleep, and moves in steps of 10 to 16 ms.
func nanos() uint64 { return uint64(windows.DurationSinceBoot()) }
