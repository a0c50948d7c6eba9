//go:build unix

package peercred

import (
	"io/fs"
	"syscall"
)

// Owner is the user and the group of a file.
func Owner(info fs.FileInfo) (uid, gid uint32, ok bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, false
	}
	return st.Uid, st.Gid, true
}
