package budget

import (
	"os"
	"runtime/debug"
)

// earlyPercent is GOGC of a process of which CollectEarly was called.
const earlyPercent = 50

// CollectEarly has the garbage collector of a sidecar's process begin when half as much garbage as
// there is in use has come together; GOGC in the environment stays in force. Next to nothing is
// allocated for a record, so collections are rare all the same, and what waits for one is resident
// memory. For commands: a library must not do that to its host.
func CollectEarly() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(earlyPercent)
	}
}
