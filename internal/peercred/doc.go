// Package peercred tells who is at the other end of a unix socket, and to whom a file belongs. What
// a system does not tell is in its own file.
package peercred

// Cred is what the kernel says of the process at the other end: of a client as of when it
// connected, of a server as of when it began to listen. The PID is 0 where it is not told.
type Cred struct {
	PID      int32
	UID, GID uint32
	Groups   []uint32 // supplementary ones, where the system tells
}
