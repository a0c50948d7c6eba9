//go:build unix && !linux

package demo

import "syscall"

// childAttributes: a process group of its own, so that Ctrl-C reaches the parent only. A child here
// learns of the parent's death only by its standard input (see RunChild).
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
