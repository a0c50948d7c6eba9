//go:build !unix

package childproc

import "time"

// OwnCPUTime is not known here: 0.
func OwnCPUTime() time.Duration { return 0 }
