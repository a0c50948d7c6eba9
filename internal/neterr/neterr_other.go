//go:build !windows

package neterr

import "syscall"

var (
	refused     = []error{syscall.ECONNREFUSED}
	reset       = []error{syscall.ECONNRESET}
	unreachable = []error{syscall.EHOSTUNREACH, syscall.ENETUNREACH}
)
