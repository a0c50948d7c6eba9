package kafkatest

import (
	"fmt"
	"syscall"
)

// port is a loopback port that stays ours while brokers on it come and go.
//
// Asking the kernel for a free port and closing it again is not enough: until the broker binds it,
// and whenever the broker is down, any outgoing connection of the machine may get it as its local
// port. So a socket stays bound to it without listening: with SO_REUSEADDR on both sides (the JVM
// sets it) Linux lets the broker bind and listen there too, and gives the port to nobody who asks
// for any free one.
type port struct {
	fd     int
	number int
}

func reservePort() (*port, error) {
	// The fork lock keeps the descriptor out of children that are started between the two calls.
	syscall.ForkLock.RLock()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	p := &port{fd: fd}
	if err := p.bind(); err != nil {
		p.release()
		return nil, err
	}
	return p, nil
}

func (p *port) bind() error {
	if err := syscall.SetsockoptInt(p.fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		return fmt.Errorf("setsockopt: %w", err)
	}
	if err := syscall.Bind(p.fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	name, err := syscall.Getsockname(p.fd)
	if err != nil {
		return fmt.Errorf("getsockname: %w", err)
	}
	p.number = name.(*syscall.SockaddrInet4).Port
	return nil
}

func (p *port) addr() string { return fmt.Sprintf("127.0.0.1:%d", p.number) }

func (p *port) release() { _ = syscall.Close(p.fd) }
