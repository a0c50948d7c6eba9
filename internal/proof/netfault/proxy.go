// Package netfault is a proxy on this machine whose network can be broken: cut, blackholed, slow,
// deaf in one direction. It stands between real processes.
package netfault

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// Direction of bytes.
type Direction int

const (
	// Up is from the client to the service, Down back.
	Up Direction = iota
	Down
)

// Proxy passes connections on to their target until it is told otherwise. All methods are safe for
// concurrent use.
type Proxy struct {
	lis    net.Listener
	target string // "network:address", or "" when clients name it (see Dial)
	tasks  sync.WaitGroup

	mu      sync.Mutex
	cut     bool
	deaf    [2]bool       // by direction: what comes is held back
	delay   time.Duration // of every chunk
	changed chan struct{} // closed and replaced at every change
	conns   map[net.Conn]struct{}
	closed  bool
}

// Listen starts a proxy on network and address (a unix socket, or a loopback port 0) to a target of
// the form "unix:/path" or "tcp:host:port". With an empty target each client names its own: see
// Dial.
func Listen(network, address, target string) (*Proxy, error) {
	lis, err := net.Listen(network, address)
	if err != nil {
		return nil, fmt.Errorf("netfault: %w", err)
	}
	p := &Proxy{lis: lis, target: target, changed: make(chan struct{}), conns: make(map[net.Conn]struct{})}
	p.tasks.Go(p.accept)
	return p, nil
}

// Addr is where clients connect.
func (p *Proxy) Addr() string { return p.lis.Addr().String() }

// Close breaks all connections and ends the proxy.
func (p *Proxy) Close() error {
	p.change(func() { p.closed = true })
	err := p.lis.Close()
	p.breakAll()
	p.tasks.Wait()
	return err
}

// Cut breaks all connections, and new ones at once, until Heal.
func (p *Proxy) Cut() {
	p.change(func() { p.cut = true })
	p.breakAll()
}

// Break breaks the connections that there are, once.
func (p *Proxy) Break() { p.breakAll() }

// Blackhole holds everything back in both directions, on new connections too, until Heal. Nothing
// is refused, nobody is told.
func (p *Proxy) Blackhole() { p.change(func() { p.deaf = [2]bool{true, true} }) }

// HalfOpen holds back what goes in one direction.
func (p *Proxy) HalfOpen(d Direction) { p.change(func() { p.deaf[d] = true }) }

// Delay adds so much to each way.
func (p *Proxy) Delay(d time.Duration) { p.change(func() { p.delay = d }) }

// Heal makes it a good network again. What was held back arrives.
func (p *Proxy) Heal() { p.change(func() { p.cut, p.deaf, p.delay = false, [2]bool{}, 0 }) }

func (p *Proxy) change(fn func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fn()
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *Proxy) breakAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

func (p *Proxy) accept() {
	for {
		c, err := p.lis.Accept()
		if err != nil {
			return
		}
		p.tasks.Go(func() { p.serve(c) })
	}
}

// keep notes a connection, or breaks it; false: it is broken.
func (p *Proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut || p.closed {
		_ = c.Close()
		return false
	}
	p.conns[c] = struct{}{}
	return true
}

func (p *Proxy) drop(c net.Conn) {
	_ = c.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

func (p *Proxy) serve(near net.Conn) {
	if !p.keep(near) {
		return
	}
	defer p.drop(near)
	in := bufio.NewReader(near)
	target := p.target
	if target == "" {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		target = strings.TrimSpace(line)
	}
	network, address, _ := strings.Cut(target, ":")
	far, err := net.DialTimeout(network, address, 5*time.Second)
	if err != nil || !p.keep(far) {
		return
	}
	defer p.drop(far)
	var both sync.WaitGroup
	both.Go(func() { p.pass(far, in, Up); _ = near.Close(); _ = far.Close() })
	both.Go(func() { p.pass(near, far, Down); _ = near.Close(); _ = far.Close() })
	both.Wait()
}

// pass copies until one end is broken.
func (p *Proxy) pass(to net.Conn, from io.Reader, d Direction) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if !p.pause(d) {
				return
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// pause waits as long as the network does not let through; false: it is over.
func (p *Proxy) pause(d Direction) bool {
	slept := false
	for {
		p.mu.Lock()
		deaf, delay, cut, changed := p.deaf[d], p.delay, p.cut || p.closed, p.changed
		p.mu.Unlock()
		switch {
		case cut:
			return false
		case deaf:
			<-changed
		case delay > 0 && !slept:
			slept = true
			t := time.NewTimer(delay)
			<-t.C
		default:
			return true
		}
	}
}

// Dial returns a dialer that goes through a proxy without a target of its own.
func Dial(proxy string) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", proxy)
		if err != nil {
			return nil, err
		}
		if _, err := fmt.Fprintf(c, "%s:%s\n", network, address); err != nil {
			return nil, errors.Join(err, c.Close())
		}
		return c, nil
	}
}
