//go:build linux && !portable

package peercred

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxPeerGroups is what Linux allows (NGROUPS_MAX).
const maxPeerGroups = 64 << 10

// peerGroups are the supplementary groups of the process at the other end, as they were when it
// connected. Kubernetes' fsGroup is one of them.
func peerGroups(fd uintptr) ([]uint32, error) {
	groups := make([]uint32, 32)
	for {
		size := uint32(len(groups) * 4)
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
		switch {
		case errno == 0:
			return groups[:size/4], nil
		case !errors.Is(errno, unix.ERANGE) || len(groups) >= maxPeerGroups:
			return nil, errno
		}
		groups = make([]uint32, min(max(int(size/4), 2*len(groups)), maxPeerGroups))
	}
}
