//go:build !unix

package sidecar

// groupOf: this system has no groups of files.
func groupOf(string) (uint32, bool) { return 0, false }
