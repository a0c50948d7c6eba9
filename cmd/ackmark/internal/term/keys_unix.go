//go:build linux || darwin

package term

import "golang.org/x/sys/unix"

// ByKey has the terminal hand out each key at once, without showing it; Ctrl-C stays a signal.
// Restore makes it as it was.
func ByKey(fd int) (restore func(), err error) {
	before, err := unix.IoctlGetTermios(fd, getMode)
	if err != nil {
		return nil, err
	}
	raw := *before
	raw.Lflag &^= unix.ICANON | unix.ECHO
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, setMode, &raw); err != nil {
		return nil, err
	}
	return func() { _ = unix.IoctlSetTermios(fd, setMode, before) }, nil
}
