package lab

import (
	"context"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// dialTimeout is how long a dial into a blackhole takes, as a client's own dialer has it.
const dialTimeout = 10 * time.Second

// network is what the processes of a lab talk over. Addresses are compared by their port.
type network struct {
	mu        sync.Mutex
	listeners map[string]*listener // by port
}

func newNetwork() *network { return &network{listeners: map[string]*listener{}} }

func (n *network) listener(port string) *listener {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.listeners[port]
}

// host is one process's place in the network. Its links are to services: all brokers are one, the
// sidecar is another.
type host struct {
	net   *network
	name  string
	links map[service]*link

	dead     atomic.Bool // all of its connections at once: nothing that it does about the end of one gets out by another
	stopped  atomic.Bool // SIGSTOP, see stop.go
	unproven bool        // nobody can see that its process is dead

	mu     sync.Mutex
	ends   []*conn       // its ends of all connections
	goesOn chan struct{} // closed when it does not stand still any more; nil: it never did
	closes []*conn       // closed by the process while it stood still
	asleep []*stream     // somebody waits in them for goOn
}

type service string

const (
	toBrokers service = "brokers"
	toSidecar service = "sidecar"
)

// sidecarPort is where every sidecar listens; the other ports are brokers.
const sidecarPort = "1"

func (n *network) host(name string) *host {
	return &host{net: n, name: name, links: map[service]*link{toBrokers: newLink(), toSidecar: newLink()}}
}

// link is the way between a host and a service.
type link struct {
	mu       sync.Mutex
	down     bool          // dials are refused
	blackUp  bool          // what the host sends does not arrive, for now
	blackBck bool          // what the service sends does not arrive, for now
	delay    time.Duration // one way
	conns    []*conn       // the host's ends
	healed   chan struct{} // closed at the next change
}

func newLink() *link { return &link{healed: make(chan struct{})} }

func (h *host) link(s service) *link { return h.links[s] }

// change applies fn and lets everybody who waits look again.
func (l *link) change(fn func(l *link)) {
	l.mu.Lock()
	fn(l)
	close(l.healed)
	l.healed = make(chan struct{})
	conns := slices.Clone(l.conns)
	l.mu.Unlock()
	for _, c := range conns {
		c.in.poke()
		c.out.poke()
	}
}

// cut resets every connection and refuses new ones.
func (l *link) cut() {
	l.change(func(l *link) { l.down = true })
	l.reset()
}

// reset resets every connection; new ones are welcome.
func (l *link) reset() {
	l.mu.Lock()
	conns := l.conns
	l.conns = nil
	l.mu.Unlock()
	for _, c := range conns {
		c.in.reset()
		c.out.reset()
	}
}

func (l *link) heal() {
	l.change(func(l *link) { l.down, l.blackUp, l.blackBck, l.delay = false, false, false, 0 })
}

func (l *link) blackhole(up, back bool) {
	l.change(func(l *link) { l.blackUp, l.blackBck = up, back })
}

func (l *link) slow(d time.Duration) { l.change(func(l *link) { l.delay = d }) }

func (l *link) impaired() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.down || l.blackUp || l.blackBck || l.delay > 0
}

// usable waits for a way to the service, as long as a dial does.
func (l *link) usable(ctx context.Context) error {
	limit := time.NewTimer(dialTimeout)
	defer limit.Stop()
	for {
		l.mu.Lock()
		down, black, delay, healed := l.down, l.blackUp || l.blackBck, l.delay, l.healed
		l.mu.Unlock()
		switch {
		case down:
			return syscall.EHOSTUNREACH // refused is only where nobody listens
		case !black && delay == 0:
			return nil
		case !black:
			arrived := time.NewTimer(2 * delay)
			defer arrived.Stop()
			select {
			case <-arrived.C:
				return nil
			case <-ctx.Done(): // the process is gone, and the lab may end
				return context.Cause(ctx)
			}
		}
		select {
		case <-healed:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-limit.C:
			return os.ErrDeadlineExceeded
		}
	}
}

// dial implements the dialer of kgo.
func (h *host) dial(ctx context.Context, _, address string) (net.Conn, error) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	to := toBrokers
	if port == sidecarPort {
		to = toSidecar
	}
	fail := func(err error) error { return &net.OpError{Op: "dial", Net: "lab", Addr: addr(address), Err: err} }
	l := h.link(to)
	if err := h.running(ctx); err != nil {
		return nil, fail(err)
	}
	if err := l.usable(ctx); err != nil {
		return nil, fail(err)
	}
	ln := h.net.listener(port)
	if ln == nil {
		return nil, fail(syscall.ECONNREFUSED)
	}
	near, far := pair(l, h, ln.host, address)
	if !h.adopt(near) || !ln.host.adopt(far) {
		near.kill()
		return nil, fail(syscall.ECONNREFUSED)
	}
	l.mu.Lock()
	l.conns = append(slices.DeleteFunc(l.conns, (*conn).over), near)
	l.mu.Unlock()
	select {
	case ln.accepting <- far:
		return near, nil
	case <-ln.closed:
		return nil, fail(syscall.ECONNREFUSED)
	case <-ctx.Done():
		return nil, fail(context.Cause(ctx))
	}
}

// adopt notes an end of the host's; false: the host is dead.
func (h *host) adopt(c *conn) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.stopped.Load() { // while it stands still somebody may wait in a connection that is over, to be woken by goOn
		h.ends = slices.DeleteFunc(h.ends, (*conn).over)
	}
	h.ends = append(h.ends, c)
	return !h.dead.Load()
}

// kill ends the host as SIGKILL does: what it has written still arrives, then the peers see the
// end; nothing of what it does from now on gets out, nor in. False: it was dead before.
func (h *host) kill() bool {
	if h.dead.Swap(true) {
		return false
	}
	h.mu.Lock()
	ends := h.ends
	h.ends, h.closes = nil, nil
	h.mu.Unlock()
	for _, c := range ends {
		c.kill() // first: what a stopped process had not written it never writes
	}
	h.goOn()
	for _, l := range h.links {
		l.change(func(l *link) { l.down = true })
	}
	return true
}

func (h *host) heal() {
	if h.dead.Load() {
		return
	}
	for _, l := range h.links {
		l.heal()
	}
}

// listener accepts the connections of one port.
type listener struct {
	net       *network
	host      *host
	port      string
	accepting chan net.Conn
	closed    chan struct{}
	once      sync.Once
}

func (h *host) listen(_, address string) (net.Listener, error) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	l := &listener{net: h.net, host: h, port: port, accepting: make(chan net.Conn), closed: make(chan struct{})}
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if h.net.listeners[port] != nil {
		return nil, &net.OpError{Op: "listen", Net: "lab", Addr: addr(address), Err: syscall.EADDRINUSE}
	}
	h.net.listeners[port] = l
	return l, nil
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.accepting:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		l.net.mu.Lock()
		defer l.net.mu.Unlock()
		if l.net.listeners[l.port] == l {
			delete(l.net.listeners, l.port)
		}
	})
	return nil
}

func (l *listener) Addr() net.Addr { return addr("localhost:" + l.port) }

type addr string

func (addr) Network() string  { return "lab" }
func (a addr) String() string { return string(a) }
