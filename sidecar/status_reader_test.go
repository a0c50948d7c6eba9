package sidecar

import (
	"context"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	grpcpeer "google.golang.org/grpc/peer"

	"github.com/ackmark/ackmark/sidecar/internal/peer"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// Errors, reasons and hashes of keys may tell of an app's data. They are shown to the pod's owner,
// to the session's owner and to who has the app's token; a neighbour sees numbers and names.
func TestANeighbourSeesNoErrors(t *testing.T) {
	srv, err := New(Config{Brokers: []string{"127.0.0.1:1"}, Apps: []App{{Name: "guarded", Token: "right"}, {Name: "open"}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Close() })
	from := func(uid uint32, pid int32) peer.Info { return peer.Info{Conn: new(net.UnixConn), UID: uid, PID: pid} }
	for i, name := range []string{"guarded", "open"} {
		app, err := srv.apps.Admit(t.Context(), name, map[string]string{"guarded": "right"}[name])
		if err != nil {
			t.Fatal(err)
		}
		sess := srv.sessions.begin(name, app, false)
		sess.peer, sess.stream = from(60001, int32(100+i)), newStream(nil)
		if _, err := srv.sessions.enter(sess); err != nil {
			t.Fatal(err)
		}
		sess.told.Take(&sidecarpb.ProcessState{
			Process:   &sidecarpb.ProcessSummary{Problem: "secret of " + name},
			Incidents: []*sidecarpb.Incident{{Kind: "halt", Topic: "t", TimeMs: 1, Reason: "secret of " + name}},
		}, time.Now(), func(e []uint64) []bool { return make([]bool, len(e)) })
		app.Leave()
	}
	for what, x := range map[string]struct {
		peer  peer.Info
		req   *sidecarpb.StatusRequest
		sees  string
		isOwn bool
	}{
		"a neighbour":                 {from(60002, 7), &sidecarpb.StatusRequest{State: true}, "", false},
		"a neighbour as an open app":  {from(60002, 7), &sidecarpb.StatusRequest{State: true, App: "open"}, "", false},
		"who owns the open session":   {from(60001, 101), &sidecarpb.StatusRequest{State: true}, "open", false},
		"the guarded app's process":   {from(60001, 100), &sidecarpb.StatusRequest{State: true}, "", false},
		"who has the token":           {from(60002, 7), &sidecarpb.StatusRequest{State: true, App: "guarded", Token: "right"}, "guarded", false},
		"the sidecar's own user":      {from(uint32(os.Geteuid()), 7), &sidecarpb.StatusRequest{State: true}, "guarded open", false},
		"root":                        {from(0, 7), &sidecarpb.StatusRequest{State: true}, "guarded open", false},
		"another host's certificate":  {peer.Info{Certificate: "of somebody"}, &sidecarpb.StatusRequest{State: true}, "", false},
		"this process, without state": {peer.Info{}, &sidecarpb.StatusRequest{}, "", true},
		"this process":                {peer.Info{}, &sidecarpb.StatusRequest{State: true}, "guarded open", true},
	} {
		ctx := context.Background()
		if !x.isOwn {
			ctx = grpcpeer.NewContext(ctx, &grpcpeer.Peer{AuthInfo: x.peer})
		}
		got, err := srv.service.Status(ctx, x.req)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		for _, app := range []string{"guarded", "open"} {
			want := 0
			if strings.Contains(x.sees, app) {
				want = 2 // the problem, and the incident's reason
			}
			if n := strings.Count(got.String(), "secret of "+app); n != want {
				t.Errorf("%s sees %d of %s, want %d", what, n, app, want)
			}
		}
	}
	wrong := grpcpeer.NewContext(context.Background(), &grpcpeer.Peer{AuthInfo: from(60002, 7)})
	if _, err := srv.service.Status(wrong, &sidecarpb.StatusRequest{State: true, App: "guarded", Token: "wrong"}); err == nil {
		t.Error("a wrong token is answered")
	}
}
