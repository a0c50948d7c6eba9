//go:build !unix

package chaos

import "syscall"

// Windows cannot stop a process and let it go on; package proc refuses to start one there.
const (
	sigStop = syscall.SIGKILL
	sigCont = syscall.SIGKILL
)
