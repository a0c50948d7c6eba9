package kafkatest

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// dataRoot is memory where there is enough of it: brokers sync their metadata log, and a disk that
// is shared may take seconds for it.
func dataRoot() string {
	const shm, enough = "/dev/shm", 4 << 30
	var fs unix.Statfs_t
	if unix.Statfs(shm, &fs) != nil || int64(fs.Bavail)*int64(fs.Bsize) < enough || unix.Access(shm, unix.W_OK) != nil { //nolint:unconvert // int32 on 32 bits
		return ""
	}
	return shm
}

// lockFile waits for the lock. It goes with this process, however that ends.
func lockFile(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX) }
