package brokerwatch

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// severed makes connections that lose a request, or its answer: then the request arrives and is
// served, and the connection ends before anybody hears of it.
type severed struct {
	mu      sync.Mutex
	answers map[int16]int // by key: how many are lost
	asks    map[int16]int
	happens int
	dead    bool // nothing arrives any more
}

func (s *severed) loseAnswer(key kmsg.Key) { s.lose(&s.answers, key) }

func (s *severed) loseRequest(key kmsg.Key) { s.lose(&s.asks, key) }

func (s *severed) lose(what *map[int16]int, key kmsg.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if *what == nil {
		*what = make(map[int16]int)
	}
	(*what)[int16(key)]++
}

// die is the end of the process as the brokers see it.
func (s *severed) die() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dead = true
}

func (s *severed) lost() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.happens
}

func (s *severed) dial(dial func(ctx context.Context, network, address string) (net.Conn, error)) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		s.mu.Lock()
		dead := s.dead
		s.mu.Unlock()
		if dead {
			return nil, net.ErrClosed
		}
		c, err := dial(ctx, network, address)
		return &severedConn{Conn: c, s: s}, err
	}
}

type severedConn struct {
	net.Conn
	s    *severed
	deaf bool
}

// Write sees whole requests: kgo writes one at a time.
func (c *severedConn) Write(b []byte) (int, error) {
	c.s.mu.Lock()
	broken := c.s.dead
	if len(b) > 6 {
		key := int16(binary.BigEndian.Uint16(b[4:]))
		switch {
		case c.s.asks[key] > 0:
			c.s.asks[key]--
			c.s.happens++
			broken = true
		case c.s.answers[key] > 0:
			c.s.answers[key]--
			c.deaf = true
		}
	}
	c.s.mu.Unlock()
	if broken {
		_ = c.Close()
		return 0, net.ErrClosed
	}
	return c.Conn.Write(b)
}

func (c *severedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if (c.deaf || c.s.dead) && n > 0 {
		c.s.happens++
		_ = c.Close()
		return 0, net.ErrClosed
	}
	return n, err
}

// sortedCounts returns names with how often they are there.
func sortedCounts(names []string) (counts []string) {
	slices.Sort(names)
	for len(names) > 0 {
		n := 1
		for n < len(names) && names[n] == names[0] {
			n++
		}
		counts, names = append(counts, fmt.Sprintf("%s (%d)", names[0], n)), names[n:]
	}
	return counts
}
