package outlet

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// cutNetwork is a virtual one that takes its time and can be cut.
type cutNetwork struct {
	kfake.VirtualNetwork
	mu    sync.Mutex
	rand  *rand.Rand
	conns []net.Conn
}

func (n *cutNetwork) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := n.VirtualNetwork.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns = append(n.conns, conn)
	return slowConn{conn, n}, nil
}

func (n *cutNetwork) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.conns {
		if n.rand.IntN(2) == 0 {
			_ = c.Close()
		}
	}
	n.conns = nil
}

func (n *cutNetwork) delay() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return time.Duration(n.rand.IntN(1500)) * time.Microsecond
}

type slowConn struct {
	net.Conn
	net *cutNetwork
}

// Write takes its time over records. Not over the rest: kgo holds a mutex while it asks for a
// producer id, and the bubble's clock stands still while somebody waits for a mutex.
func (c slowConn) Write(b []byte) (int, error) {
	if len(b) > 6 && binary.BigEndian.Uint16(b[4:]) == uint16(kmsg.Produce) {
		time.Sleep(c.net.delay())
	}
	n, err := c.Conn.Write(b)
	return n, closed(err)
}

// Read fails as a connection does that was closed, not as a pipe.
func (c slowConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	return n, closed(err)
}

// closed is the error of a closed connection for that of a closed pipe, which no network has: kgo
// tries again after the first, and fails its records after the other.
func closed(err error) error {
	if errors.Is(err, io.ErrClosedPipe) {
		return net.ErrClosed
	}
	return err
}
