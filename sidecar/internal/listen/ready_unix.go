//go:build unix && !portable

package listen

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"

	"google.golang.org/grpc/mem"
)

// readiness reads a connection that tells when there is something to read. It is its reader's.
type readiness struct {
	raw syscall.RawConn
	try func(fd uintptr) bool // attempt, made once

	size int
	pool mem.BufferPool
	buf  *[]byte
	n    int
	err  error
}

// readinessOf is nil for what is no socket of the kernel, or is one below something else.
func readinessOf(conn net.Conn) *readiness {
	var raw syscall.RawConn
	var err error
	switch c := conn.(type) {
	case *net.UnixConn:
		raw, err = c.SyscallConn()
	case *net.TCPConn:
		raw, err = c.SyscallConn()
	default:
		return nil
	}
	if err != nil {
		return nil
	}
	r := &readiness{raw: raw}
	r.try = r.attempt
	return r
}

// read waits, and takes a buffer then. The buffer is nil if nothing was read.
func (r *readiness) read(size int, pool mem.BufferPool) (*[]byte, int, error) {
	r.size, r.pool, r.n, r.err = size, pool, 0, nil
	if err := r.raw.Read(r.try); err != nil { // closed, or over its deadline
		return nil, 0, err
	}
	buf := r.buf
	r.buf, r.pool = nil, nil
	switch {
	case r.err != nil:
		return nil, 0, os.NewSyscallError("read", r.err)
	case r.n == 0:
		pool.Put(buf)
		return nil, 0, io.EOF
	}
	return buf, r.n, nil
}

// attempt tells that the waiting is over. No buffer is kept over a wait.
func (r *readiness) attempt(fd uintptr) bool {
	r.buf = r.pool.Get(r.size)
	for {
		r.n, r.err = syscall.Read(int(fd), *r.buf)
		if !errors.Is(r.err, syscall.EINTR) {
			break
		}
	}
	if r.err == nil {
		return true
	}
	r.pool.Put(r.buf)
	r.buf = nil
	return !errors.Is(r.err, syscall.EAGAIN)
}
