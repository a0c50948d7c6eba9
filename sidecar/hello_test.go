package sidecar_test

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
	"github.com/ackmark/ackmark/sidecar/sidecartest"
)

func helloMsg(h *sidecarpb.Hello) *sidecarpb.DeliveryStreamRequest {
	return &sidecarpb.DeliveryStreamRequest{Kind: &sidecarpb.DeliveryStreamRequest_Hello{Hello: h}}
}

// refused sends messages on a new stream and expects it to end with this status, whose text
// contains all parts.
func (c *client) ends(code codes.Code, parts ...string) {
	c.t.Helper()
	c.isRefused(func() bool { return false }, code, parts...)
}

// isRefused is ends for what would be answered if it were let.
func (c *client) isRefused(isLet func() bool, code codes.Code, parts ...string) {
	c.t.Helper()
	err := c.until(isLet)
	if status.Code(err) != code {
		c.t.Fatalf("the stream ended with %v, want %v", err, code)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			c.t.Errorf("%v does not say %q", err, p)
		}
	}
}

func TestHelloIsChecked(t *testing.T) {
	kafka := cluster(t)
	sc := sidecartest.Start(t, kafka.ListenAddrs(), func(c *sidecar.Config) {
		c.Version = "v9.9.9"
		c.Apps = []sidecar.App{{Name: "app", Token: "secret"}, {Name: "open"}}
		c.MaxSessions = 1
		c.Options = nil
	})
	conn := dial(t, sc.Target)
	ok := func() *sidecarpb.Hello { return &sidecarpb.Hello{Version: 1, App: "open", SessionId: "s"} }
	for _, x := range []struct {
		name  string
		msg   *sidecarpb.DeliveryStreamRequest
		code  codes.Code
		parts []string
	}{
		{"other major version", helloMsg(&sidecarpb.Hello{Version: 2, App: "open", SessionId: "s", ClientVersion: "v2.0.1"}), codes.FailedPrecondition, []string{"version 2", "version 1", "v2.0.1", "v9.9.9"}},
		{"no session id", helloMsg(&sidecarpb.Hello{Version: 1, App: "open"}), codes.InvalidArgument, []string{"session id"}},
		{"long session id", helloMsg(&sidecarpb.Hello{Version: 1, App: "open", SessionId: strings.Repeat("x", 65)}), codes.InvalidArgument, []string{"64"}},
		{"no app", helloMsg(&sidecarpb.Hello{Version: 1, SessionId: "s"}), codes.InvalidArgument, []string{"app"}},
		{"unknown app", helloMsg(&sidecarpb.Hello{Version: 1, App: "who", SessionId: "s"}), codes.PermissionDenied, []string{"who"}},
		{"wrong token", helloMsg(&sidecarpb.Hello{Version: 1, App: "app", SessionId: "s", Token: "guess"}), codes.PermissionDenied, []string{"token"}},
		{"no Hello", &sidecarpb.DeliveryStreamRequest{Kind: &sidecarpb.DeliveryStreamRequest_Goodbye{}}, codes.InvalidArgument, []string{"Hello"}},
		{"nothing", &sidecarpb.DeliveryStreamRequest{}, codes.InvalidArgument, []string{"Hello"}},
	} {
		t.Run(x.name, func(t *testing.T) {
			c := openStream(t, conn)
			c.send(x.msg)
			c.ends(x.code, x.parts...)
		})
	}
	t.Run("too many sessions", func(t *testing.T) {
		c := openStream(t, conn)
		c.send(helloMsg(ok()))
		if err := c.until(func() bool { return c.welcome != nil }); err != nil {
			t.Fatal(err)
		}
		if c.welcome.GetResumed() || c.welcome.GetHighestSequence() != 0 || c.welcome.GetServerVersion() != "v9.9.9" || c.welcome.GetCredit().GetBytes() == 0 {
			t.Errorf("welcome %v", c.welcome)
		}
		other := openStream(t, conn)
		h := ok()
		h.SessionId = "other"
		other.send(helloMsg(h))
		other.ends(codes.ResourceExhausted, "MaxSessions")
		stolen := openStream(t, conn)
		stolen.send(helloMsg(&sidecarpb.Hello{Version: 1, App: "app", Token: "secret", SessionId: "s"}))
		stolen.ends(codes.Aborted, "another process has this session")
	})
}

func TestProtocolViolationsEndTheStream(t *testing.T) {
	kafka := cluster(t)
	sc := sidecartest.Start(t, kafka.ListenAddrs(), func(c *sidecar.Config) { c.MaxBytes, c.MaxSessions, c.MaxRecords = 1<<20, 4, 1000 })
	conn := dial(t, sc.Target)
	for _, x := range []struct {
		name string
		do   func(c *client)
		part string
	}{
		{"sequence gap", func(c *client) { c.units(plain("out", 1)...); c.next += 5; c.units(plain("out", 1)...) }, "no gaps"},
		{"sequence 0", func(c *client) { c.next = 0; c.units(plain("out", 1)...) }, "start at 1"},
		{"credit in bytes", func(c *client) { u := plain("out", 100); grow(u, 5000); c.units(u...) }, "credit exceeded"},
		{"credit in records", func(c *client) { c.units(make([]testUnit, 300)...) }, "credit"},
		{"second Hello", func(c *client) { c.send(helloMsg(&sidecarpb.Hello{Version: 1, App: "app", SessionId: "s"})) }, "second Hello"},
		{"epoch 0", func(c *client) { c.assign(&sidecarpb.AssignedPartition{Topic: "in"}) }, "not 0"},
		{"epoch twice", func(c *client) {
			c.assign(&sidecarpb.AssignedPartition{Epoch: 1, Topic: "in"}, &sidecarpb.AssignedPartition{Epoch: 1, Topic: "in", Partition: 1})
		}, "one assignment of one"},
		{"topic index renamed", func(c *client) {
			c.units(plain("out", 1)...)
			clear(c.topics)
			c.units(plain("one", 1)...)
		}, "keeps its name"},
		{"garbage", func(c *client) {
			if err := c.stream.SendMsg(&wire.Raw{Buffers: buffers([]byte{0x1a, 0x03, 0x22, 0xff, 0xff})}); err != nil {
				c.t.Fatal(err)
			}
		}, "malformed"},
	} {
		t.Run(x.name, func(t *testing.T) {
			c := hello(t, conn, "s")
			x.do(c)
			c.ends(codes.InvalidArgument, x.part)
		})
	}
	// Nobody else noticed.
	c := hello(t, conn, "after")
	c.units(plain("out", 3)...)
	c.reported(3)
}

func grow(units []testUnit, size int) {
	for i := range units {
		units[i].outs[0].Value = make([]byte, size)
	}
}
