// Package peer tells who is at the other end of a connection, whether two that came are one, and
// whether a process is dead for certain: by the kernel's word on a unix socket (credentials, a
// pidfd), by a certificate over TLS, by what a listener of the user's own says.
package peer
