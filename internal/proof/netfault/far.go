package netfault

import (
	"context"
	"net"
	"sync"
	"time"
)

// DialFunc makes connections, as kgo.Dialer has it.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// Far makes what dial connects to as far away as a round trip: to connect takes one, and what is
// written and what is read arrive half of one later. The way is long, not narrow: however much is
// on it, each byte takes as long, which the Delay of a Proxy does not do. Nil dials TCP as kgo
// does.
func Far(roundTrip time.Duration, dial DialFunc) DialFunc {
	if dial == nil {
		dial = (&net.Dialer{Timeout: 10 * time.Second}).DialContext
	}
	if roundTrip <= 0 {
		return dial
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		t := time.NewTimer(roundTrip)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		there, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return stretch(there, roundTrip/2), nil
	}
}

// farConn is this end of a connection that is stretched. Its deadlines are those of a net.Pipe.
type farConn struct {
	net.Conn
	there net.Conn
}

func (c farConn) LocalAddr() net.Addr  { return c.there.LocalAddr() }
func (c farConn) RemoteAddr() net.Addr { return c.there.RemoteAddr() }

// Close does not wait for what is on its way: it arrives, unless the other end takes nothing.
func (c farConn) Close() error {
	_ = c.there.SetWriteDeadline(time.Now().Add(closing))
	return c.Conn.Close()
}

// stretch puts so much time between a connection and who uses it, in both directions. Its
// goroutines end when either end is closed.
func stretch(there net.Conn, half time.Duration) net.Conn {
	here, middle := net.Pipe()
	go travel(there, middle, half)
	go travel(middle, there, half)
	return farConn{here, there}
}

const (
	parcelBytes = 64 << 10
	// parcelsOnWay bounds what is on its way: 64 MiB of a busy connection.
	parcelsOnWay = 1024

	closing = 5 * time.Second
)

// parcel is what one read has brought, and when it arrives at the other end.
type parcel struct {
	data *[parcelBytes]byte
	n    int
	due  time.Time
}

var parcels = sync.Pool{New: func() any { return new([parcelBytes]byte) }}

// travel hands on what comes from one end to the other, each piece so much later, and the end of it
// so much later, too. An end that takes nothing any more is closed, and what is on its way to it is
// lost.
func travel(to, from net.Conn, takes time.Duration) {
	way := make(chan parcel, parcelsOnWay)
	go func() {
		defer close(way)
		for {
			p := parcel{data: parcels.Get().(*[parcelBytes]byte)}
			var err error
			p.n, err = from.Read(p.data[:])
			p.due = time.Now().Add(takes)
			way <- p
			if err != nil {
				return
			}
		}
	}()
	broken := false
	for p := range way {
		if !broken {
			time.Sleep(time.Until(p.due))
			if p.n > 0 {
				_, err := to.Write(p.data[:p.n])
				broken = err != nil
			}
			if broken {
				_ = to.Close()
			}
		}
		parcels.Put(p.data)
	}
	_ = to.Close()
}
