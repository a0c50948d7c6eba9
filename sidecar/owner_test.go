package sidecar_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/ackmark/ackmark/sidecar"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
	"github.com/ackmark/ackmark/sidecar/sidecartest"
)

func groupAssign(group, member string, start int64) *sidecarpb.DeliveryStreamRequest {
	return &sidecarpb.DeliveryStreamRequest{Kind: &sidecarpb.DeliveryStreamRequest_Assign{Assign: &sidecarpb.Assign{Group: group, MemberId: member, Generation: 1,
		Partitions: []*sidecarpb.AssignedPartition{{Epoch: 1, Topic: "in", StartOffset: start}}}}}
}

// An app that may speak for one group cannot make a will for a member of another one, whatever
// start_offset it claims.
func TestAnAppSpeaksForItsOwnGroups(t *testing.T) {
	kafka := cluster(t)
	sc := sidecartest.Start(t, kafka.ListenAddrs(), func(c *sidecar.Config) {
		c.Apps = []sidecar.App{{Name: "app", Groups: []string{"mine", "team-*"}}}
	})
	for _, x := range []struct {
		group   string
		allowed bool
	}{{"mine", true}, {"team-a", true}, {"mine2", false}, {"other", false}, {"team", false}, {"", false}} {
		c := hello(t, dial(t, sc.Target), "s-"+x.group)
		c.send(groupAssign(x.group, "member", 1_000_000))
		c.release(1, 1)
		isLet := func() bool { return c.released[1] }
		if !x.allowed {
			c.isRefused(isLet, codes.PermissionDenied, "GROUP_NOT_ALLOWED", `"app"`, "groups")
		} else if err := c.until(isLet); err != nil {
			t.Errorf("group %q: %v", x.group, err)
		}
	}
}

// An empty list is not all.
func TestEmptyAllowListsAreRefused(t *testing.T) {
	for field, app := range map[string]sidecar.App{
		"Apps[0].Topics": {Name: "a", Topics: []string{}}, "Apps[0].Groups": {Name: "a", Groups: []string{}},
	} {
		if _, err := sidecar.New(sidecar.Config{Brokers: []string{"127.0.0.1:1"}, Apps: []sidecar.App{app}}); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

const strangerEnv = "ACKMARK_TEST_STRANGER"

// TestStranger is another process that knows everything of a living session. It is no test of its
// own.
func TestStranger(t *testing.T) {
	said := strings.Split(os.Getenv(strangerEnv), ",")
	if len(said) != 3 {
		t.Skip("only as a child of the tests that start it")
	}
	what, target, id := said[0], said[1], said[2]
	conn := dial(t, target)
	if _, err := sidecarpb.NewSidecarClient(conn).Status(t.Context(), &sidecarpb.StatusRequest{}); err != nil {
		_, _ = os.Stdout.WriteString("answer: " + err.Error() + "\n")
		return
	}
	if what == "reads" {
		mine := queued(t, conn, "")
		_, _ = fmt.Printf("answer: first report of another's: %t\n", firstReport(t, conn, "") != mine)
		return
	}
	if what == "routes" {
		_, err := sidecarpb.NewSidecarClient(conn).SetRoute(t.Context(), &sidecarpb.SetRouteRequest{App: "app", Topic: "t"})
		_, _ = fmt.Printf("answer: %v\n", err)
		return
	}
	c := openStream(t, conn)
	h := &sidecarpb.Hello{Version: 1, App: "app", SessionId: what}
	let := func() bool { return false } // when it was let do what it wants
	switch what {
	case "resumes":
		h.SessionId, h.PreviousSidecarId, h.Features = "victim", id, []string{"resume"}
		let = func() bool { return c.welcome != nil }
	case "takes":
		h.SessionId = "victim"
		let = func() bool { return c.welcome != nil }
	}
	c.send(helloMsg(h))
	switch what {
	case "leaves":
		_ = c.stream.CloseSend()
	case "assigns":
		c.send(groupAssign("g", "m", 1_000_000))
		c.release(1, 1)
		let = func() bool { return c.released[1] }
	case "inherits":
		c.send(inherit(1, "g", "i"))
		let = func() bool { return c.heir[1] }
	}
	answer := "it is let"
	if err := c.until(let); err != nil {
		answer = err.Error()
	}
	_, _ = os.Stdout.WriteString("answer: " + answer + "\n")
}

func stranger(t *testing.T, what string, sc *sidecartest.Sidecar, id string) string {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestStranger$")
	cmd.Env = append(os.Environ(), strangerEnv+"="+what+","+sc.Target+","+id)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

// Another process of the same user neither goes on with a living session, nor ends it, nor speaks
// for its member. The session's own process does.
func TestAnotherProcessIsRefused(t *testing.T) {
	if !sidecar.ProvesDeaths {
		t.Skip("this system does not tell processes apart")
	}
	kafka := cluster(t)
	sc := sidecartest.Start(t, kafka.ListenAddrs(), nil)
	begin := func(previous string) *client {
		c := openStream(t, dial(t, sc.Target))
		c.send(helloMsg(&sidecarpb.Hello{Version: 1, App: "app", SessionId: "victim", PreviousSidecarId: previous, Features: []string{"resume"}}))
		if err := c.until(func() bool { return c.welcome != nil }); err != nil {
			t.Fatal(err)
		}
		return c
	}
	victim := begin("")
	id := victim.welcome.GetSidecarId()
	victim.assign(&sidecarpb.AssignedPartition{Epoch: 1, Topic: "in"})
	victim.units(plain("out", 1)...)
	victim.reported(1)
	for what, want := range map[string]string{"resumes": "SESSION_FENCED", "takes": "SESSION_FENCED", "assigns": "MEMBER_HELD"} {
		if got := stranger(t, what, sc, id); !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %s", what, got, want)
		}
	}
	victim.units(plain("out", 2)...)
	victim.reported(3)
	victim.cancel()
	if again := begin(id); !again.welcome.GetResumed() {
		t.Error("its own process cannot go on with it")
	}
}

func queued(t *testing.T, conn *grpc.ClientConn, token string) (report uint64) {
	t.Helper()
	resp, err := sidecarpb.NewSidecarClient(conn).Emit(t.Context(), &sidecarpb.EmitRequest{App: "app", Token: token, Wait: sidecarpb.Wait_WAIT_QUEUED,
		Record: &sidecarpb.Record{Topic: "out", Value: []byte("v")}})
	if err != nil || resp.GetError() != nil {
		t.Fatal(resp, err)
	}
	return resp.GetReportId()
}

func firstReport(t *testing.T, conn *grpc.ClientConn, token string) (id uint64) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := sidecarpb.NewSidecarClient(conn).Reports(ctx, &sidecarpb.ReportsRequest{App: "app", Token: token})
	for err == nil {
		var resp *sidecarpb.ReportsResponse
		if resp, err = stream.Recv(); len(resp.GetReports()) > 0 {
			return resp.GetReports()[0].GetReportId()
		}
	}
	t.Fatal(err)
	return 0
}

// The reports of an app without a token are read by the process that emitted, not by another one
// that calls itself the same.
func TestAStrangerReadsNoReports(t *testing.T) {
	if !sidecar.ProvesDeaths {
		t.Skip("this system does not tell processes apart")
	}
	kafka := cluster(t)
	sc := sidecartest.Start(t, kafka.ListenAddrs(), nil)
	conn := dial(t, sc.Target)
	mine := queued(t, conn, "")
	if got := firstReport(t, conn, ""); got != mine {
		t.Errorf("its own process reads report %d, want %d", got, mine)
	}
	if got := stranger(t, "reads", sc, "-"); !strings.Contains(got, "another's: false") {
		t.Errorf("a stranger reads: %s", got)
	}
	if got := firstReport(t, dial(t, sc.Target), ""); got != mine {
		t.Errorf("after a stranger's visit its own process reads report %d, want %d", got, mine)
	}
}

func inherit(id uint64, group, instance string) *sidecarpb.DeliveryStreamRequest {
	return &sidecarpb.DeliveryStreamRequest{Kind: &sidecarpb.DeliveryStreamRequest_Inherit{
		Inherit: &sidecarpb.Inherit{RequestId: id, Group: group, InstanceId: instance}}}
}

// A process that lost its stream and lives keeps its grace: no other process of its app ends it by
// inheriting its static member. It may do so itself.
func TestAStrangerDoesNotInherit(t *testing.T) {
	if !sidecar.ProvesDeaths {
		t.Skip("this system does not tell processes apart")
	}
	kafka := cluster(t)
	sc := sidecartest.Start(t, kafka.ListenAddrs(), func(c *sidecar.Config) { c.ReconnectGrace = time.Hour })
	begin := func(session, previous string) *client {
		c := openStream(t, dial(t, sc.Target))
		c.send(helloMsg(&sidecarpb.Hello{Version: 1, App: "app", SessionId: session, PreviousSidecarId: previous, Features: []string{"resume", "inherit"}}))
		if err := c.until(func() bool { return c.welcome != nil }); err != nil {
			t.Fatal(err)
		}
		return c
	}
	state := func() string {
		st, err := sc.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range st.GetSessions() {
			if s.GetSessionId() == "victim" {
				return s.GetState()
			}
		}
		return ""
	}
	breaks := func(c *client) {
		c.cancel()
		for state() != "broken" {
			runtime.Gosched()
		}
	}
	victim := begin("victim", "")
	id := victim.welcome.GetSidecarId()
	victim.send(&sidecarpb.DeliveryStreamRequest{Kind: &sidecarpb.DeliveryStreamRequest_Assign{Assign: &sidecarpb.Assign{Group: "g", MemberId: "m", InstanceId: "i",
		Generation: 1, Partitions: []*sidecarpb.AssignedPartition{{Epoch: 1, Topic: "in"}}}}})
	victim.units(plain("out", 1)...)
	victim.reported(1)
	breaks(victim)
	if got := stranger(t, "inherits", sc, id); !strings.Contains(got, "MEMBER_HELD") || !strings.Contains(got, "instance id") {
		t.Errorf("a stranger hears %s, want MEMBER_HELD and what to do", got)
	}
	if again := begin("victim", id); !again.welcome.GetResumed() {
		t.Error("its grace was ended by a stranger")
	} else {
		breaks(again)
	}
	heir := begin("heir", "")
	heir.send(inherit(2, "g", "i"))
	if err := heir.until(func() bool { return heir.heir[2] }); err != nil || state() != "" {
		t.Errorf("the same process inherits: %v, the former session is %q", err, state())
	}
}

// An app inherits nothing of a group that it may not speak for.
func TestAnAppInheritsInItsOwnGroups(t *testing.T) {
	kafka := cluster(t)
	sc := sidecartest.Start(t, kafka.ListenAddrs(), func(c *sidecar.Config) {
		c.Apps = []sidecar.App{{Name: "app", Groups: []string{"mine"}}}
	})
	c := hello(t, dial(t, sc.Target), "one")
	c.send(inherit(1, "mine", "i"))
	if err := c.until(func() bool { return c.heir[1] }); err != nil {
		t.Errorf("its own group: %v", err)
	}
	c = hello(t, dial(t, sc.Target), "two")
	c.send(inherit(1, "other", "i"))
	c.isRefused(func() bool { return c.heir[1] }, codes.PermissionDenied, "GROUP_NOT_ALLOWED", `"app"`, `"other"`, "groups")
}

// Who asks over a connection does not learn by which id a session is gone on with; who has the
// Server does.
func TestStatusHidesSessionIDs(t *testing.T) {
	kafka := cluster(t)
	sc := sidecartest.Start(t, kafka.ListenAddrs(), nil)
	c := hello(t, dial(t, sc.Target), "secret-id")
	c.assign(&sidecarpb.AssignedPartition{Epoch: 1, Topic: "in"})
	c.release(1, 1)
	if err := c.until(func() bool { return c.released[1] }); err != nil {
		t.Fatal(err)
	}
	seen, err := sidecarpb.NewSidecarClient(dial(t, sc.Target)).Status(t.Context(), &sidecarpb.StatusRequest{})
	if err != nil || len(seen.GetSessions()) != 1 {
		t.Fatalf("%v, %v", seen, err)
	}
	if s := seen.GetSessions()[0]; s.GetSessionId() == "" || strings.Contains(seen.String(), "secret-id") || s.GetMemberId() != "" || s.GetGroup() != "g" {
		t.Errorf("a stranger sees %v", s)
	}
	own, err := sc.Status(t.Context())
	if err != nil || own.GetSessions()[0].GetSessionId() != "secret-id" {
		t.Errorf("the owner of the Server sees %v, %v", own, err)
	}
}
