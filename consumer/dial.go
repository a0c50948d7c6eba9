package consumer

import (
	"context"
	"net"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/neterr"
)

type dialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

// patient makes the client try again where a broker that it reached before refuses a connection.
// kgo gives a heartbeat up, and with it the membership, when the brokers that it asks for the
// group's coordinator refuse twice in a row, as they do while a broker restarts; all that is not
// committed is then done again. What timed out it tries until the session is over, on another
// broker each time, so a refusal is shown to it as that.
//
// Before the first connection it stays a refusal: whoever gave a wrong address hears so at once.
func (b *brokers) patient(dial dialFunc) dialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		switch {
		case err == nil:
			b.connected.Store(true)
		case b.connected.Load() && isRefusal(err):
			err = &net.OpError{Op: "dial", Net: network, Err: refusal{err}}
		}
		return conn, err
	}
}

func isRefusal(err error) bool {
	return neterr.Refused(err) || neterr.Reset(err) || neterr.Unreachable(err)
}

// refusal is what a dial ended with, as one that took too long.
type refusal struct{ error }

// Timeout is what kgo asks.
func (refusal) Timeout() bool { return true }

// Unwrap returns what happened.
func (r refusal) Unwrap() error { return r.error }

// dialer returns how the client of these options dials, TLS included.
func dialer(probe *kgo.Client) dialFunc {
	fn, _ := probe.OptValue(kgo.Dialer).(dialFunc)
	return fn
}
