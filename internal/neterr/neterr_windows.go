package neterr

import (
	"syscall"

	"golang.org/x/sys/windows"
)

// Go's own syscall.ECONNREFUSED is there too: simulations return it.
var (
	refused     = []error{windows.WSAECONNREFUSED, syscall.ECONNREFUSED}
	reset       = []error{windows.WSAECONNRESET, syscall.ECONNRESET}
	unreachable = []error{windows.WSAEHOSTUNREACH, windows.WSAENETUNREACH, syscall.EHOSTUNREACH, syscall.ENETUNREACH}
)
