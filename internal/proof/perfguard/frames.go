package perfguard

import (
	"encoding/binary"
	"net"
	"sync/atomic"
)

// countingConn counts the messages on an HTTP/2 connection in both directions, by its frames: a
// report is one, a message of units as many as it is cut into.
type countingConn struct {
	net.Conn

	up, down frames
}

func (c *countingConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.up.see(p[:n])
	return n, err
}

func (c *countingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.down.see(p[:n])
	return n, err
}

// frames follows one direction.
type frames struct {
	data atomic.Int64 // frames with data in them

	begun bool
	head  [9]byte
	got   int // of head
	skip  int // of the preface, or of a frame's payload
}

// preface begins what a client sends: its first bytes are no frame.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

func (f *frames) see(p []byte) {
	if !f.begun && len(p) > 0 {
		f.begun = true
		if p[0] == preface[0] {
			f.skip = len(preface)
		}
	}
	for len(p) > 0 {
		if n := min(f.skip, len(p)); n > 0 {
			f.skip -= n
			p = p[n:]
			continue
		}
		n := copy(f.head[f.got:], p)
		f.got += n
		p = p[n:]
		if f.got == len(f.head) {
			f.got = 0
			f.skip = int(binary.BigEndian.Uint32(f.head[:4]) >> 8)
			if f.head[3] == 0 && f.skip > 0 {
				f.data.Add(1)
			}
		}
	}
}
