//go:build unix

// Package term asks terminals.
package term

import "golang.org/x/sys/unix"

// Width is the width in columns of the terminal that the file descriptor is, if it is one.
func Width(fd int) (int, bool) {
	size, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
	if err != nil {
		return 0, false
	}
	return int(size.Col), true
}
