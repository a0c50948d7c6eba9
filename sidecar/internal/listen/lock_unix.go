//go:build unix

package listen

import (
	"os"

	"golang.org/x/sys/unix"
)

const noFollow = unix.O_NOFOLLOW

// hasModes: the mode of a directory says who may enter it.
const hasModes = true

// lockFile takes the lock or fails at once. It goes with the process, however that ends.
func lockFile(f *os.File) error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }
