//go:build !unix

package demo

import "syscall"

// childAttributes: a child here learns of the parent's death only by its standard input (see
// RunChild).
func childAttributes() *syscall.SysProcAttr { return nil }
