//go:build unix

package smallfile

import "syscall"

// nonblocking opens a pipe to which nobody writes, where a plain open waits for ever.
const nonblocking = syscall.O_NONBLOCK
