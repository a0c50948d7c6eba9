package listen

import (
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// queued is a listener of connections that are made already.
type queued struct {
	net.Listener
	conns chan net.Conn
}

func (q queued) Accept() (net.Conn, error) {
	c, ok := <-q.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

// A storm of connections above the limit: each is closed at once, the log has a line now and then,
// and the places of those that ended are others'.
func TestAStormOfConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most, storm = 3, 10_000
		from := queued{conns: make(chan net.Conn)}
		var said []uint64
		accepted := make(chan net.Conn, storm)
		go func() {
			defer close(accepted)
			for lis := Limit(from, most, func(n uint64) { said = append(said, n) }); ; {
				c, err := lis.Accept()
				if err != nil {
					return
				}
				accepted <- c
			}
		}()
		// come makes a connection, and tells whether it is open.
		come := func() bool {
			peer, ours := net.Pipe()
			from.conns <- ours
			synctest.Wait()
			_ = peer.SetReadDeadline(time.Now())
			_, err := peer.Read(make([]byte, 1))
			timeout, ok := err.(net.Error) //nolint:errorlint // a pipe's own
			return ok && timeout.Timeout()
		}
		for i := range storm {
			if open := come(); open != (i < most) {
				t.Fatalf("connection %d: open %v", i, open)
			}
		}
		if !slices.Equal(said, []uint64{1}) {
			t.Errorf("of %d refusals at one moment it was said: %v", storm-most, said)
		}
		first := <-accepted
		for range 2 {
			_ = first.Close() // a second one gives no second place
		}
		if !come() || come() {
			t.Error("the place of a connection that ended was not given to one other")
		}
		time.Sleep(tellEvery)
		come()
		if !slices.Equal(said, []uint64{1, storm - most + 2}) {
			t.Errorf("a while later it was said: %v", said)
		}
		close(from.conns)
		for c := range accepted {
			_ = c.Close()
		}
	})
}
