//go:build !linux || portable

package peer

import "github.com/ackmark/ackmark/internal/sessionfile"

// ProvesDeaths tells whether this system says who is at the other end of a unix socket, and when
// that process ends.
const ProvesDeaths = false

// openPidfd: this system has no pidfds, so a death is never proven: the grace is waited for.
func openPidfd(Info) int { return -1 }

func findPidfd(sessionfile.Process) (fd int, dead bool) { return -1, false }

func pidfdDead(int) bool { return false }

func pidfdInode(int) uint64 { return 0 }

func closePidfd(int) {}
