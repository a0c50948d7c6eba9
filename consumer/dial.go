package consumer

import (
	"context"
	"net"
	"sync/atomic"
	"time"

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
// Where one broker cannot be reached again and again, whatever the reason (its name may be gone
// while it restarts), the dial ends after a pause: a client in a group of the consumer protocol
// that cannot fetch the offsets of what it was assigned begins its session anew without one (kgo
// 1.22, manage848), millions of times while its brokers are away.
//
// Before the first connection it stays a refusal: whoever gave a wrong address hears so at once.
func (b *brokers) patient(dial dialFunc) dialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		switch {
		case err == nil:
			b.connected.Store(true)
			b.refused.Delete(addr)
		case b.connected.Load():
			b.pauseRefused(ctx, addr)
			if isRefusal(err) {
				err = &net.OpError{Op: "dial", Net: network, Err: refusal{err}}
			}
		}
		return conn, err
	}
}

const (
	freeRefusals    = 3 // in a row, without a pause
	maxRefusalPause = 200 * time.Millisecond
)

// pauseRefused waits, the longer the more often this broker has refused in a row.
func (b *brokers) pauseRefused(ctx context.Context, addr string) {
	count, _ := b.refused.LoadOrStore(addr, new(atomic.Int64))
	times := count.(*atomic.Int64).Add(1) - freeRefusals
	if times <= 0 {
		return
	}
	t := time.NewTimer(min(10*time.Millisecond<<min(times, 10), maxRefusalPause))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
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
