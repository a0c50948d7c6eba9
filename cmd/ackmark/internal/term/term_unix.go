//go:build unix

// Package term asks terminals.
package term

import "golang.org/x/sys/unix"

// Width is the width in columns of the terminal that the file descriptor is, if it is one.
func Width(fd int) (int, bool) {
	width, _, ok := Size(fd)
	return width, ok
}

// Size is the width in columns, and the height in lines, of such a terminal.
func Size(fd int) (width, height int, ok bool) {
	size, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
	if err != nil {
		return 0, 0, false
	}
	return int(size.Col), int(size.Row), true
}
