package sidecar_test

import (
	"os"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ackmark/ackmark/internal/peercred"
	"github.com/ackmark/ackmark/sidecar"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
	"github.com/ackmark/ackmark/sidecar/sidecartest"
)

// routed says Hello as a client that goes by the sidecar's routes, and waits for the first ones.
func routed(t *testing.T, target, app, session string) *client {
	t.Helper()
	c := openStream(t, dial(t, target))
	c.send(helloMsg(&sidecarpb.Hello{Version: 1, App: app, SessionId: session, Features: []string{"resume", "routes"}}))
	if err := c.until(func() bool { return c.routes != nil }); err != nil {
		t.Fatal(err)
	}
	return c
}

// hears waits until the client was told these routes.
func (c *client) hears(want string) {
	c.t.Helper()
	if err := c.until(func() bool { return written(c.routes) == want }); err != nil {
		c.t.Fatalf("told %q, want %q: %v", written(c.routes), want, err)
	}
}

func written(m *sidecarpb.Routes) string {
	var list []string
	for _, r := range m.GetRoutes() {
		text := r.GetTopic() + "=" + strings.Repeat("|", int(r.GetSidecarPercent())/10)
		if r.GetFallback() {
			text += "f"
		}
		list = append(list, text)
	}
	return strings.Join(list, " ")
}

// Clients that go by routes hear of them when they come and whenever they change; others of the app
// are counted, those of other apps left alone.
func TestRoutesAreTold(t *testing.T) {
	if !peercred.Known {
		t.Skip("this system does not tell who connects: nobody may set a route")
	}
	kafka := cluster(t)
	sc := sidecartest.Start(t, kafka.ListenAddrs(), func(c *sidecar.Config) {
		c.Routes = []sidecar.Route{{App: "app", Topic: "configured", By: "sidecar:10"}, {App: "*", Topic: "*", By: "direct"}}
	})
	api := sidecarpb.NewSidecarClient(dial(t, sc.Target))
	set := func(r *sidecarpb.SetRouteRequest) *sidecarpb.SetRouteResponse {
		t.Helper()
		resp, err := api.SetRoute(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	one, other := routed(t, sc.Target, "app", "one"), routed(t, sc.Target, "other", "other")
	hello(t, dial(t, sc.Target), "deaf")
	one.hears("*= configured=|")
	other.hears("*=")
	if r := set(&sidecarpb.SetRouteRequest{App: "app", Topic: "t", SidecarPercent: 50, Fallback: true}); r.GetTold() != 1 || r.GetDeaf() != 1 {
		t.Errorf("told %d, deaf %d", r.GetTold(), r.GetDeaf())
	}
	one.hears("*= configured=| t=|||||f")
	set(&sidecarpb.SetRouteRequest{App: "app", Topic: "configured", SidecarPercent: 100})
	one.hears("*= configured=|||||||||| t=|||||f")
	if err := sc.SetRoutes([]sidecar.Route{{App: "app", Topic: "configured", By: "direct:70"}}); err != nil {
		t.Fatal(err)
	}
	one.hears("configured=|||||||||| t=|||||f")
	other.hears("")
	set(&sidecarpb.SetRouteRequest{App: "app", Topic: "configured", Forget: true})
	one.hears("configured=||| t=|||||f")
	later := routed(t, sc.Target, "app", "later")
	later.hears("configured=||| t=|||||f")
	st, err := api.Status(t.Context(), &sidecarpb.StatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if len(st.GetRoutes()) != 2 || !st.GetRoutes()[0].GetConfigured() || st.GetRoutes()[1].GetConfigured() {
		t.Errorf("status shows %v", st.GetRoutes())
	}
	following := 0
	for _, s := range st.GetSessions() {
		if s.GetFollowsRoutes() {
			following++
		}
	}
	if following != 3 || len(st.GetSessions()) != 4 {
		t.Errorf("%d of %d sessions go by routes", following, len(st.GetSessions()))
	}
	for _, bad := range []*sidecarpb.SetRouteRequest{{Topic: "t"}, {App: "app"}, {App: "app", Topic: "a b"}, {App: "app", Topic: "t", SidecarPercent: 101}, {App: "a/b", Topic: "t"}} {
		if _, err := api.SetRoute(t.Context(), bad); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

// A client that goes on with its session is told again: the sidecar may have changed its mind
// meanwhile.
func TestRoutesAreToldToWhoComesBack(t *testing.T) {
	kafka := cluster(t)
	sc := sidecartest.Start(t, kafka.ListenAddrs(), nil)
	first := routed(t, sc.Target, "app", "s")
	first.units(plain("out", 1)...)
	first.reported(1)
	first.cancel()
	if err := sc.SetRoutes([]sidecar.Route{{App: "app", Topic: "t", By: "sidecar:30"}}); err != nil {
		t.Fatal(err)
	}
	again := openStream(t, dial(t, sc.Target))
	again.send(helloMsg(&sidecarpb.Hello{Version: 1, App: "app", SessionId: "s", PreviousSidecarId: first.welcome.GetSidecarId(), LastReport: 1, Features: []string{"resume", "routes"}}))
	again.hears("t=|||")
}

func TestRoutesThatAreRefused(t *testing.T) {
	for want, list := range map[string][]sidecar.Route{
		"Routes[0].By": {{App: "a", Topic: "t", By: "sideways"}},
		"Routes[1]":    {{App: "a", Topic: "t", By: "direct"}, {App: "a", Topic: "t", By: "sidecar"}},
		"Routes[0]":    {{App: "a", Topic: "", By: "direct"}},
		"Routes":       make([]sidecar.Route, 257),
		"Routes[2]":    {{App: "known", Topic: "out", By: "sidecar"}, {App: "*", Topic: "other", By: "direct"}, {App: "unknown", Topic: "*", By: "direct"}},
		"no app may":   {{App: "*", Topic: "other", By: "direct:90"}},
	} {
		cfg := sidecar.Config{Brokers: []string{"127.0.0.1:1"}, Routes: list}
		if strings.Contains(want, "2") || strings.Contains(want, "no ") {
			cfg.Apps = []sidecar.App{{Name: "known", Topics: []string{"out"}}}
		}
		if _, err := sidecar.New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// Who reaches a Listener of one's own is not known: it sets no routes.
func TestAnOwnListenerSetsNoRoutes(t *testing.T) {
	kafka := cluster(t)
	lis, conn := sidecartest.Bufconn(t)
	sidecartest.Start(t, kafka.ListenAddrs(), func(c *sidecar.Config) { c.Listener = lis })
	_, err := sidecarpb.NewSidecarClient(conn).SetRoute(t.Context(), &sidecarpb.SetRouteRequest{App: "app", Topic: "t"})
	if status.Code(err) != codes.PermissionDenied {
		t.Errorf("%v", err)
	}
}

// A configuration that is read again replaces the routes of the one before, not those that were
// set.
func TestRoutesOfAReload(t *testing.T) {
	kafka := cluster(t)
	sc := sidecartest.Start(t, kafka.ListenAddrs(), func(c *sidecar.Config) {
		c.Routes = []sidecar.Route{{App: "app", Topic: "t", By: "sidecar:10"}}
	})
	c := routed(t, sc.Target, "app", "s")
	c.hears("t=|")
	if _, err := reload(t, sc, kafka.ListenAddrs(), func(c *sidecar.Config) {
		c.Routes = []sidecar.Route{{App: "app", Topic: "t", By: "sidecar:20"}}
	}); err != nil {
		t.Fatal(err)
	}
	c.hears("t=||")
	if _, err := reload(t, sc, kafka.ListenAddrs(), func(c *sidecar.Config) {
		c.Routes = []sidecar.Route{{App: "app", Topic: "t", By: "upwards"}}
	}); err == nil {
		t.Error("a route that is none was taken")
	}
}

// Routes are set of apps that there can be, and of topics that they may write to. What would send
// records to a refusal is refused.
func TestRoutesOfListedApps(t *testing.T) {
	if !peercred.Known {
		t.Skip("this system does not tell who connects: nobody may set a route")
	}
	kafka := cluster(t)
	sc := sidecartest.Start(t, kafka.ListenAddrs(), func(c *sidecar.Config) {
		c.Apps = []sidecar.App{{Name: "app", Topics: []string{"t", "team-*"}, Token: "secret"}}
	})
	api := sidecarpb.NewSidecarClient(dial(t, sc.Target))
	for name, x := range map[string]struct {
		req  *sidecarpb.SetRouteRequest
		want codes.Code
	}{
		"its topic":                   {&sidecarpb.SetRouteRequest{App: "app", Topic: "t", SidecarPercent: 100}, codes.OK},
		"a prefix of its":             {&sidecarpb.SetRouteRequest{App: "app", Topic: "team-a", SidecarPercent: 1}, codes.OK},
		"all of its":                  {&sidecarpb.SetRouteRequest{App: "app", Topic: "*", SidecarPercent: 1}, codes.OK},
		"another one, directly":       {&sidecarpb.SetRouteRequest{App: "app", Topic: "other"}, codes.OK},
		"another one":                 {&sidecarpb.SetRouteRequest{App: "app", Topic: "other", SidecarPercent: 1}, codes.InvalidArgument},
		"another one, with fallback":  {&sidecarpb.SetRouteRequest{App: "app", Topic: "other", SidecarPercent: 1, Fallback: true}, codes.InvalidArgument},
		"another one, of all apps":    {&sidecarpb.SetRouteRequest{App: "*", Topic: "other", SidecarPercent: 1}, codes.InvalidArgument},
		"an app that is not listed":   {&sidecarpb.SetRouteRequest{App: "other", Topic: "t"}, codes.InvalidArgument},
		"the same, all of its":        {&sidecarpb.SetRouteRequest{App: "other", Topic: "*", SidecarPercent: 1}, codes.InvalidArgument},
		"markup for a name":           {&sidecarpb.SetRouteRequest{App: "<b>app", Topic: "t"}, codes.InvalidArgument},
		"a control character":         {&sidecarpb.SetRouteRequest{App: "app\x1b[2J", Topic: "t"}, codes.InvalidArgument},
		"a prefix for a name":         {&sidecarpb.SetRouteRequest{App: "ap*", Topic: "t"}, codes.InvalidArgument},
		"a prefix for a topic":        {&sidecarpb.SetRouteRequest{App: "app", Topic: "team-*", SidecarPercent: 1}, codes.InvalidArgument},
		"more than all":               {&sidecarpb.SetRouteRequest{App: "app", Topic: "t", SidecarPercent: 1 << 31}, codes.InvalidArgument},
		"nothing":                     {&sidecarpb.SetRouteRequest{}, codes.InvalidArgument},
		"forgotten, without a name":   {&sidecarpb.SetRouteRequest{Forget: true}, codes.InvalidArgument},
		"forgotten, though never set": {&sidecarpb.SetRouteRequest{App: "other", Topic: "t", Forget: true}, codes.OK},
	} {
		if _, err := api.SetRoute(t.Context(), x.req); status.Code(err) != x.want {
			t.Errorf("%s: %v, want %v", name, err, x.want)
		}
	}
	if err := sc.SetRoutes([]sidecar.Route{{App: "other", Topic: "t", By: "direct"}}); err == nil {
		t.Error("a route of an app that is not listed is configured")
	}
}

// Who may set routes is a list, of which a reload may leave somebody out: what he set goes with
// him. He is counted among the refused.
func TestWhoSetsRoutes(t *testing.T) {
	if !peercred.Known {
		t.Skip("this system does not tell who connects: nobody may set a route")
	}
	kafka := cluster(t)
	me := []uint32{uint32(os.Geteuid())}
	sc := sidecartest.Start(t, kafka.ListenAddrs(), func(c *sidecar.Config) {
		c.RouteSetters = []sidecar.RouteSetter{{UIDs: me, Apps: []string{"app"}, Topics: []string{"t*"}}}
	})
	api := sidecarpb.NewSidecarClient(dial(t, sc.Target))
	set := func(app, topic string, want codes.Code) {
		t.Helper()
		if _, err := api.SetRoute(t.Context(), &sidecarpb.SetRouteRequest{App: app, Topic: topic, SidecarPercent: 10}); status.Code(err) != want {
			t.Errorf("%s, %s: %v, want %v", app, topic, err, want)
		}
	}
	c := routed(t, sc.Target, "app", "s")
	set("app", "t1", codes.OK)
	set("app", "t2", codes.OK)
	for _, not := range [][2]string{{"app", "*"}, {"*", "t1"}, {"*", "*"}, {"other", "t1"}, {"app", "u"}, {"", ""}} {
		set(not[0], not[1], codes.PermissionDenied)
	}
	c.hears("t1=| t2=|")
	again := func(setters ...sidecar.RouteSetter) {
		t.Helper()
		if _, err := reload(t, sc, kafka.ListenAddrs(), func(c *sidecar.Config) { c.RouteSetters = setters }); err != nil {
			t.Fatal(err)
		}
	}
	again(sidecar.RouteSetter{UIDs: me, Topics: []string{"t2"}})
	c.hears("t2=|")
	set("app", "t1", codes.PermissionDenied)
	again(sidecar.RouteSetter{UIDs: []uint32{54321}})
	c.hears("")
	set("app", "t2", codes.PermissionDenied)
	again()
	set("app", "t2", codes.OK)
	st, err := api.Status(t.Context(), &sidecarpb.StatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	refused := uint64(0)
	for _, r := range st.GetRefusals() {
		if r.GetReason() == "route" {
			refused = r.GetCount()
		}
	}
	if refused != 8 {
		t.Errorf("%d are counted as refused, want 8", refused)
	}
}

// An empty list of setters is not everybody, and not nobody.
func TestRouteSettersThatAreRefused(t *testing.T) {
	for field, list := range map[string][]sidecar.RouteSetter{
		"RouteSetters ": {}, "RouteSetters[0].UIDs": {{UIDs: []uint32{}}}, "RouteSetters[1].Apps": {{}, {Apps: []string{}}}, "RouteSetters[0].Topics": {{Topics: []string{"a*b"}}},
		"RouteSetters is": make([]sidecar.RouteSetter, 65),
	} {
		if _, err := sidecar.New(sidecar.Config{Brokers: []string{"127.0.0.1:1"}, RouteSetters: list}); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}
