package sidecar_test

import (
	"crypto/tls"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
	"github.com/ackmark/ackmark/sidecar/sidecartest"
)

// Each call that speaks for an app wants its token, and so does the first message of a stream;
// Status speaks for nobody.
func TestEveryCallForAnAppWantsItsToken(t *testing.T) {
	kafka := cluster(t)
	sc := sidecartest.Start(t, kafka.ListenAddrs(), func(c *sidecar.Config) { c.Apps = []sidecar.App{{Name: "app", Token: "secret"}} })
	conn := dial(t, sc.Target)
	api := sidecarpb.NewSidecarClient(conn)
	for token, code := range map[string]codes.Code{"": codes.PermissionDenied, "secre": codes.PermissionDenied, "secret": codes.OK} {
		for _, wait := range []sidecarpb.Wait{sidecarpb.Wait_WAIT_ACKED, sidecarpb.Wait_WAIT_QUEUED} {
			resp, err := api.Emit(t.Context(), &sidecarpb.EmitRequest{App: "app", Token: token, Wait: wait, Record: &sidecarpb.Record{Topic: "out"}})
			if status.Code(err) != code || resp.GetError() != nil {
				t.Errorf("Emit %v with token %q: %v, %v; want %v", wait, token, resp, err, code)
			}
		}
		stream, err := api.Reports(t.Context(), &sidecarpb.ReportsRequest{App: "app", Token: token})
		if err == nil {
			_, err = stream.Recv()
		}
		if status.Code(err) != code {
			t.Errorf("Reports with token %q: %v, want %v", token, err, code)
		}
		c := openStream(t, conn)
		c.send(helloMsg(&sidecarpb.Hello{Version: 1, App: "app", SessionId: "s", Token: token}))
		if err := c.until(func() bool { return c.welcome != nil }); status.Code(err) != code {
			t.Errorf("Hello with token %q: %v, want %v", token, err, code)
		}
	}
	if _, err := api.Status(t.Context(), &sidecarpb.StatusRequest{}); err != nil {
		t.Errorf("Status: %v", err)
	}
}

// begin says Hello for a session that can be gone on with.
func begin(t *testing.T, conn *grpc.ClientConn, h *sidecarpb.Hello) (*client, error) {
	t.Helper()
	c := openStream(t, conn)
	h.Version, h.App, h.Features = 1, "app", []string{"resume"}
	c.send(helloMsg(h))
	return c, c.until(func() bool { return c.welcome != nil })
}

// Over TCP an app is its certificate: another one of the same authority goes on with nothing of it
// and reads none of its reports, unless both have the app's token.
func TestCertificatesTellAppsApart(t *testing.T) {
	kafka := cluster(t)
	ca, server, one := certificates(t)
	for _, token := range []string{"", "secret"} {
		addr := freeAddr(t)
		sidecartest.Start(t, kafka.ListenAddrs(), func(c *sidecar.Config) {
			c.Listen, c.Apps = "tcp://"+addr, []sidecar.App{{Name: "app", Token: token}}
			c.TLS = &tls.Config{Certificates: []tls.Certificate{server}, ClientCAs: ca, ClientAuth: tls.RequireAndVerifyClientCert}
		})
		as := func(cert tls.Certificate) *grpc.ClientConn {
			conn, err := grpc.NewClient(addr, grpc.WithDefaultCallOptions(grpc.ForceCodecV2(wire.Codec{})),
				grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: ca, Certificates: []tls.Certificate{cert}, ServerName: "sidecar"})))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close() })
			return conn
		}
		victim, err := begin(t, as(one), &sidecarpb.Hello{SessionId: "victim", Token: token})
		if err != nil {
			t.Fatal(err)
		}
		victim.send(groupAssign("g", "m", 0))
		victim.units(plain("out", 1)...)
		victim.reported(1)
		again := &sidecarpb.Hello{SessionId: "victim", Token: token, PreviousSidecarId: victim.welcome.GetSidecarId()}
		two := as(server) // another certificate
		switch c, err := begin(t, two, again); {
		case token != "" && (err != nil || !c.welcome.GetResumed()):
			t.Errorf("another certificate with the app's token: %v, %v", c.welcome, err)
		case token == "" && (status.Code(err) != codes.Aborted || !strings.Contains(err.Error(), "SESSION_FENCED")):
			t.Errorf("another certificate goes on with a session: %v", err)
		}
		if c, err := begin(t, as(one), again); err != nil || !c.welcome.GetResumed() {
			t.Errorf("the same certificate on another connection: %v, %v", c.welcome, err)
		}
		c, err := begin(t, two, &sidecarpb.Hello{SessionId: "other", Token: token})
		if err != nil {
			t.Fatal(err)
		}
		c.send(groupAssign("g", "m", 1_000_000))
		c.release(1, 1)
		if err := c.until(func() bool { return c.released[1] }); (err == nil) != (token != "") || err != nil && !strings.Contains(err.Error(), "MEMBER_HELD") {
			t.Errorf("token %q, another certificate names the member: %v", token, err)
		}
		mine, theirs := queued(t, as(one), token), queued(t, two, token)
		want := theirs
		if token != "" {
			want = mine
		}
		if got := firstReport(t, two, token); got != want {
			t.Errorf("token %q, another certificate reads report %d first, want %d of %d and %d", token, got, want, mine, theirs)
		}
	}
}

// Of who connects to a Listener of the owner's own nothing is known: by a session's id each goes on
// with it.
func TestAnOwnListenerTellsNobodyApart(t *testing.T) {
	kafka := cluster(t)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	sidecartest.Start(t, kafka.ListenAddrs(), func(c *sidecar.Config) { c.Listener = lis })
	victim, err := begin(t, dial(t, lis.Addr().String()), &sidecarpb.Hello{SessionId: "s"})
	if err != nil {
		t.Fatal(err)
	}
	victim.units(plain("out", 1)...)
	victim.reported(1)
	c, err := begin(t, dial(t, lis.Addr().String()), &sidecarpb.Hello{SessionId: "s", PreviousSidecarId: victim.welcome.GetSidecarId()})
	if err != nil || !c.welcome.GetResumed() {
		t.Errorf("%v, %v", c.welcome, err)
	}
}

// An assignment is its session's: another session of the same app, and of the same process, neither
// sends inputs of it nor releases it.
func TestStaysBelongToTheirSession(t *testing.T) {
	kafka := cluster(t)
	sc := sidecartest.Start(t, kafka.ListenAddrs(), nil)
	victim := hello(t, dial(t, sc.Target), "victim")
	victim.assign(&sidecarpb.AssignedPartition{Epoch: 1, Topic: "in"})
	victim.units(from(0)...)
	victim.reported(1)
	other := hello(t, dial(t, sc.Target), "other")
	other.units(from(1)...)
	other.release(1, 1)
	if err := other.until(func() bool { return other.released[1] }); err != nil {
		t.Fatal(err)
	}
	if f := other.failed[1]; f.GetError().GetCode() != wire.CodeUnknownAssignment {
		t.Errorf("another session's input of the assignment: %v", f)
	}
	victim.units(from(1)...)
	victim.reported(2)
	if !victim.acked[2] {
		t.Errorf("another session released the assignment: %v", victim.failed[2])
	}
}

// Without a list of groups an app is trusted with all.
func TestWithoutGroupsAnAppIsTrusted(t *testing.T) {
	kafka := cluster(t)
	sc := sidecartest.Start(t, kafka.ListenAddrs(), func(c *sidecar.Config) { c.Apps = []sidecar.App{{Name: "app"}} })
	c := hello(t, dial(t, sc.Target), "s")
	c.send(groupAssign("another-pods", "member", 1_000_000))
	c.release(1, 1)
	if err := c.until(func() bool { return c.released[1] }); err != nil {
		t.Error(err)
	}
}
