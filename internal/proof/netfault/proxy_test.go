package netfault

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo answers every line with itself.
func echo(t *testing.T) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := lis.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c); _ = c.Close() }()
		}
	}()
	t.Cleanup(func() { _ = lis.Close(); <-done })
	return lis.Addr().String()
}

type talk struct {
	t *testing.T
	c net.Conn
	r *bufio.Reader
}

func (k talk) say(text string) { _, _ = k.c.Write([]byte(text + "\n")) }

// hears tells whether the text comes back within the time.
func (k talk) hears(text string, within time.Duration) bool {
	k.t.Helper()
	_ = k.c.SetReadDeadline(time.Now().Add(within))
	line, err := k.r.ReadString('\n')
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	return err == nil && line == text+"\n"
}

func open(t *testing.T) (*Proxy, func() talk) {
	t.Helper()
	target := echo(t)
	p, err := Listen("tcp", "127.0.0.1:0", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p, func() talk {
		c, err := Dial(p.Addr())(t.Context(), "tcp", target)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return talk{t, c, bufio.NewReader(c)}
	}
}

const (
	long  = 10 * time.Second
	short = 50 * time.Millisecond
)

func TestFaults(t *testing.T) {
	p, connect := open(t)
	k := connect()
	if k.say("a"); !k.hears("a", long) {
		t.Fatal("a good network does not pass")
	}
	p.Blackhole()
	if k.say("b"); k.hears("b", short) {
		t.Error("a blackhole passes")
	}
	p.Heal()
	if !k.hears("b", long) {
		t.Error("what was held back does not arrive")
	}
	p.HalfOpen(Down)
	if k.say("c"); k.hears("c", short) {
		t.Error("a half-open connection answers")
	}
	p.Heal()
	if !k.hears("c", long) {
		t.Error("the answer does not arrive after the heal")
	}
	p.Delay(60 * time.Millisecond)
	begun := time.Now()
	if k.say("d"); !k.hears("d", long) || time.Since(begun) < 120*time.Millisecond {
		t.Errorf("a slow network took %v", time.Since(begun))
	}
	p.Heal()
	p.Cut()
	if k.say("e"); k.hears("e", long) {
		t.Error("a cut connection passes")
	}
	if n := connect(); true {
		if n.say("f"); n.hears("f", long) {
			t.Error("a new connection passes a cut")
		}
	}
	p.Heal()
	n := connect()
	if n.say("g"); !n.hears("g", long) {
		t.Error("a healed network does not pass")
	}
	p.Break()
	if n.say("h"); n.hears("h", long) {
		t.Error("a broken connection passes")
	}
}
