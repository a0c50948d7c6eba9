//go:build !linux

package kafkatest

import "runtime"

// port stands for a reserved one; see ports_linux.go.
type port struct{ number int }

func reservePort() (*port, error) {
	return nil, missing("tests on real brokers run on Linux only, not on %s", runtime.GOOS)
}

func (p *port) addr() string { return "" }

func (p *port) release() {}
