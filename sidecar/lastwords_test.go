package sidecar_test

import (
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ackmark/ackmark/sidecar"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// stopping is a listener whose connections read nothing while the sidecar is stopped; what its
// clients write waits, as in a socket.
type stopping struct {
	net.Listener
	goesOn chan struct{} // closed while it runs
}

type stoppingConn struct {
	net.Conn
	of *stopping
}

func (l *stopping) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return stoppingConn{c, l}, nil
}

func (c stoppingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	<-c.of.goesOn
	return n, err
}

// A sidecar that was stopped finds in one moment what a process said and that it is dead. All that
// it said is heard before its will is executed: it may have let go of what it held, and others may
// have it by now (S2).
func TestLastWordsAreHeard(t *testing.T) {
	for range 3 {
		var lis *stopping
		inBubble(t, func(c *sidecar.Config) {
			lis = &stopping{c.Listener, make(chan struct{})}
			close(lis.goesOn)
			c.Listener = lis
		}, func(t *testing.T, b *bubble) {
			if _, err := b.admin(t).CreateTopic(t.Context(), 2, 1, nil, "in"); err != nil {
				t.Fatal(err)
			}
			m := b.mortal(t, "s", "")
			id := b.topicID(t)
			m.assignAs(&sidecarpb.AssignedPartition{Epoch: 1, Topic: "in", TopicId: id[:]})
			m.units(from(0, 1, 2)...)
			m.reported(3)
			synctest.Wait()
			lis.goesOn = make(chan struct{})
			for i := range uint64(40) {
				m.units(from(3 + i)...)
			}
			m.release(1, 1)
			synctest.Wait()
			_ = b.conn.Close()
			close(lis.goesOn)
			time.Sleep(5 * time.Second)
			if at, _ := b.committed(t); at != -1 || b.members(t) != 0 {
				t.Errorf("committed %d of a partition that was let go of, %d members", at, b.members(t))
			}
		})
	}
}

// A client half-closes its stream right behind Goodbye, as gRPC's clients end one: that is no end
// without Goodbye.
func TestGoodbyeAndTheEndOfTheStream(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, b *bubble) {
		for range 100 {
			c := hello(t, b.conn, "s")
			c.units(plain("out", 1)...)
			c.reported(1)
			c.goodbye()
			if err := c.stream.CloseSend(); err != nil {
				t.Fatal(err)
			}
			if err := c.until(func() bool { return false }); !errors.Is(err, io.EOF) {
				t.Fatalf("the stream ended with %v", err)
			}
		}
	})
}
