package sidecartest

import (
	"os"
	"testing"
)

// shortDir is a temporary directory with a short name: the path of a unix socket has at most 107
// bytes.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ackmark")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
