//go:build !unix

package peercred

import "io/fs"

// Owner: this system has no users and groups of files.
func Owner(fs.FileInfo) (uid, gid uint32, ok bool) { return 0, 0, false }
