package sidecar_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/test/bufconn"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// Peers that stop in the middle of what begins a connection, or that answer nothing afterwards,
// have a place among MaxConnections for some seconds, and then it is another's.
func TestSilentPeersGiveTheirPlacesBack(t *testing.T) {
	settings := "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	for name, x := range map[string]struct {
		says   string
		within time.Duration
	}{
		"nothing":                      {"", 5 * time.Second},
		"half a preface":               {http2.ClientPreface[:11], 5 * time.Second},
		"no settings":                  {http2.ClientPreface, 5 * time.Second},
		"half of the settings":         {http2.ClientPreface + settings[:5], 5 * time.Second},
		"no answer to a sign of life":  {http2.ClientPreface + settings, 10 * time.Second},
		"half of a frame after it all": {http2.ClientPreface + settings + "\x00\x40\x00\x01", 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			const most = 4
			var lis *bufconn.Listener
			inBubble(t, func(c *sidecar.Config) {
				c.MaxConnections = most
				lis, _ = c.Listener.(*bufconn.Listener)
			}, func(t *testing.T, b *bubble) {
				good := hello(t, b.conn, "good")
				ended := make(chan time.Duration, most)
				begun := time.Now()
				come := func() {
					conn, err := lis.DialContext(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { _ = conn.Close() })
					go func() {
						_, _ = io.Copy(io.Discard, conn) // nobody answers
						ended <- time.Since(begun)
					}()
					go func(c net.Conn) { _, _ = io.WriteString(c, x.says) }(conn)
					synctest.Wait()
				}
				for range most {
					come()
				}
				if took := <-ended; took != 0 {
					t.Errorf("the connection above the limit was closed after %v", took)
				}
				for range most - 1 {
					if took := <-ended; took == 0 || took > x.within {
						t.Errorf("a peer that was silent was cut off after %v, want within %v", took, x.within)
					}
				}
				synctest.Wait()
				begun = time.Now()
				come()
				select {
				case <-ended:
					t.Error("there was no place for another one")
				default:
				}
				good.units(plain("out", 3)...)
				good.reported(3)
			})
		})
	}
}

// leave says Goodbye and expects the clean end of the stream.
func leave(c *client) {
	c.t.Helper()
	c.goodbye()
	if err := c.until(func() bool { return false }); !errors.Is(err, io.EOF) {
		c.t.Fatalf("after Goodbye the stream ended with %v", err)
	}
}

// A Hello in which everything is as large as the contract lets it be is taken, of a new session and
// of one that goes on; it takes nothing for good. One more of anything is refused, and nothing is
// left of that either.
func TestTheLargestHello(t *testing.T) {
	largest := func(session string) *sidecarpb.Hello {
		h := &sidecarpb.Hello{Version: 1, App: strings.Repeat("a", wire.MaxAppName), SessionId: session, Token: strings.Repeat("t", wire.MaxToken),
			ClientVersion: strings.Repeat("v", 256), ClientId: strings.Repeat("c", wire.MaxSessionID), PreviousSidecarId: strings.Repeat("p", wire.MaxSessionID)}
		h.Features = []string{"resume", "inherit"}
		for len(h.GetFeatures()) < wire.MaxFeatures {
			h.Features = append(h.Features, strings.Repeat("f", wire.MaxSessionID))
		}
		for i := range uint64(wire.MaxUnreported) {
			h.Unreported = append(h.Unreported, &sidecarpb.Range{First: 1<<40 + 2*i, Count: 1})
		}
		return h
	}
	inBubble(t, func(c *sidecar.Config) { c.MaxSessions, c.ReconnectGrace = 4, time.Second }, func(t *testing.T, b *bubble) {
		for i := range 8 {
			c := openStream(t, b.conn)
			c.send(helloMsg(largest(fmt.Sprintf("%064d", i))))
			if err := c.until(func() bool { return c.welcome != nil }); err != nil {
				t.Fatal(err)
			}
			leave(c)
		}
		for name, more := range map[string]func(*sidecarpb.Hello){
			"app":                 func(h *sidecarpb.Hello) { h.App += "a" },
			"session_id":          func(h *sidecarpb.Hello) { h.SessionId += "s" },
			"token":               func(h *sidecarpb.Hello) { h.Token += "t" },
			"client_version":      func(h *sidecarpb.Hello) { h.ClientVersion += "v" },
			"client_id":           func(h *sidecarpb.Hello) { h.ClientId += "c" },
			"previous_sidecar_id": func(h *sidecarpb.Hello) { h.PreviousSidecarId += "p" },
			"features":            func(h *sidecarpb.Hello) { h.Features = append(h.Features, "f") },
			"unreported": func(h *sidecarpb.Hello) {
				h.Unreported = append(h.Unreported, &sidecarpb.Range{First: 1 << 50, Count: 1})
			},
		} {
			h := largest(strings.Repeat("s", wire.MaxSessionID))
			more(h)
			c := openStream(t, b.conn)
			c.send(helloMsg(h))
			c.ends(codes.InvalidArgument, name)
		}
		// One that goes on: what it says is unreported was never received.
		first := openStream(t, b.conn)
		first.send(helloMsg(largest("goes-on")))
		if err := first.until(func() bool { return first.welcome != nil }); err != nil {
			t.Fatal(err)
		}
		first.assign()
		synctest.Wait()
		again := largest("goes-on")
		again.PreviousSidecarId = first.welcome.GetSidecarId()
		second := openStream(t, b.conn)
		second.send(helloMsg(again))
		second.ends(codes.InvalidArgument, "unreported")
		leave(first)
		synctest.Wait()
		if left := b.sc.LeftOver(); left != "" {
			t.Error(left)
		}
	})
}
