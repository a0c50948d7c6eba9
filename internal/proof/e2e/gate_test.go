package e2e

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// gate is a proxy between a process and its brokers that holds single requests by their kind, and
// delivers them later even if the process is dead by then: what a network does with a packet that
// is on its way. A connection waits behind its held request.
type gate struct {
	t    *testing.T
	lis  net.Listener
	mu   sync.Mutex
	want []*held // in the order in which they are looked for
	all  []*held
	open []net.Conn
	over bool
	done sync.WaitGroup
}

// held is a request that is to be stopped.
type held struct {
	key      kmsg.Key
	after    kmsg.Key      // a request that is waited for first; anyTime: none
	closed   bool          // all that follow wait, too: who gives the held one up and asks again
	caught   chan struct{} // closed when it is here
	release  chan struct{} // close it to let it go on
	answered chan struct{} // closed when the broker has answered it
	answer   []byte        // after answered: the broker's frame
	lost     bool          // the answer is, and the connection with it
	to       string        // after caught: the broker's address
	once     sync.Once
	found    bool // under the gate's lock: closed, and the first one is here
}

const (
	heldLimit          = 30 * time.Second
	anyTime   kmsg.Key = -1
)

func newGate(t *testing.T) *gate {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{t: t, lis: lis}
	g.done.Go(g.accept)
	t.Cleanup(func() {
		_ = lis.Close()
		g.mu.Lock()
		g.over = true
		for _, c := range g.open {
			_ = c.Close()
		}
		for _, h := range g.all {
			h.letGo()
		}
		g.mu.Unlock()
		g.done.Wait()
	})
	return g
}

func (g *gate) addr() string { return g.lis.Addr().String() }

// hold stops the next request of this kind, and no other.
func (g *gate) hold(key kmsg.Key) *held { return g.add(&held{key: key, after: anyTime}) }

// shut stops the next request of this kind that comes after one of another kind, or at any time,
// and all that follow until it is let go.
func (g *gate) shut(key, after kmsg.Key) *held {
	return g.add(&held{key: key, after: after, closed: true})
}

// lose stops the next request of this kind, and loses its answer.
func (g *gate) lose(key kmsg.Key) *held { return g.add(&held{key: key, after: anyTime, lost: true}) }

func (g *gate) add(h *held) *held {
	h.caught, h.release, h.answered = make(chan struct{}), make(chan struct{}), make(chan struct{})
	g.mu.Lock()
	defer g.mu.Unlock()
	g.want, g.all = append(g.want, h), append(g.all, h)
	return h
}

func (h *held) letGo() { h.once.Do(func() { close(h.release) }) }

// await waits for one of the channels of a held request.
func (h *held) await(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(heldLimit):
		t.Fatalf("no %s: %s", kmsg.NameForKey(int16(h.key)), what)
	}
}

// deliver lets the request go on and waits for its answer.
func (h *held) deliver(t *testing.T) {
	t.Helper()
	h.letGo()
	h.await(t, "answered", h.answered)
}

// stops returns the hold that a request falls under, and whether it is the one that was looked for.
func (g *gate) stops(key kmsg.Key) (h *held, first bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, h := range g.want {
		switch {
		case h.after == key:
			h.after = anyTime
		case h.key != key || h.after != anyTime:
		case !h.closed:
			g.want = append(g.want[:i:i], g.want[i+1:]...)
			return h, true
		default:
			first, h.found = !h.found, true
			return h, first
		}
	}
	return nil, false
}

func (g *gate) accept() {
	for {
		near, err := g.lis.Accept()
		if err != nil {
			return
		}
		g.done.Go(func() {
			if err := g.serve(near); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
				g.t.Logf("gate: %v", err) // a reset, most likely
			}
		})
	}
}

// track remembers a connection for the end of the test.
func (g *gate) track(c net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.over {
		_ = c.Close()
		return false
	}
	g.open = append(g.open, c)
	return true
}

// serve passes a connection on. The address of the broker is its first line, as netfault.Dial
// writes it.
func (g *gate) serve(near net.Conn) error {
	if !g.track(near) {
		return nil
	}
	in := bufio.NewReader(near)
	line, err := in.ReadString('\n')
	if err != nil {
		return err
	}
	network, address, _ := strings.Cut(strings.TrimSpace(line), ":")
	far, err := net.Dial(network, address)
	if err != nil {
		return errors.Join(err, near.Close())
	}
	if !g.track(far) {
		return nil
	}
	var mu sync.Mutex
	waiting := map[int32]*held{} // by correlation id
	broken := make(chan struct{})
	g.done.Go(func() {
		defer close(broken)
		defer near.Close()
		for out := bufio.NewReader(far); ; {
			frame, err := readFrame(out)
			if err != nil {
				return
			}
			id := int32(binary.BigEndian.Uint32(frame[4:]))
			mu.Lock()
			h := waiting[id]
			mu.Unlock()
			if h != nil {
				h.answer = frame
				close(h.answered)
				if h.lost {
					return
				}
			}
			_, _ = near.Write(frame) // the process may be dead; the answers are of interest all the same
		}
	})
	for {
		frame, err := readFrame(in)
		if err != nil {
			return errors.Join(err, far.Close())
		}
		h, first := g.stops(kmsg.Key(binary.BigEndian.Uint16(frame[4:])))
		if h != nil && !first {
			<-h.release
		}
		if first {
			mu.Lock()
			waiting[int32(binary.BigEndian.Uint32(frame[8:]))] = h
			mu.Unlock()
			h.to = address
			close(h.caught)
			<-h.release
			if _, err := far.Write(frame); err != nil {
				return err
			}
			select { // the process may be gone, and far would be closed before the answer
			case <-h.answered:
			case <-broken:
			}
			continue
		}
		if _, err := far.Write(frame); err != nil {
			return err
		}
	}
}

// readFrame reads a request or an answer, with its length. Both have at least a correlation id.
func readFrame(r *bufio.Reader) ([]byte, error) {
	size, err := r.Peek(4)
	if err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size)
	if n < 4 || n > 100<<20 {
		return nil, fmt.Errorf("a frame of %d bytes", n)
	}
	frame := make([]byte, 4+n)
	_, err = io.ReadFull(r, frame)
	return frame, err
}
