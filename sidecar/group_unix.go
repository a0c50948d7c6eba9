//go:build unix

package sidecar

import (
	"os"
	"syscall"
)

// groupOf is the group of a file.
func groupOf(path string) (uint32, bool) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return st.Gid, true
}
