package listen

import (
	"os"

	"golang.org/x/sys/windows"
)

const noFollow = 0 // making a link takes a privilege here

// hasModes: a directory is protected by an access list here, which a mode does not show.
const hasModes = false

// lockFile takes the lock or fails at once. It goes with the process, however that ends.
func lockFile(f *os.File) error {
	const how = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	return windows.LockFileEx(windows.Handle(f.Fd()), how, 0, 1, 0, new(windows.Overlapped))
}
