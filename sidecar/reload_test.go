package sidecar_test

import (
	"errors"
	"net"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ackmark/ackmark/internal/proof/measured"
	"github.com/ackmark/ackmark/internal/telemetry"
	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
	"github.com/ackmark/ackmark/sidecar/sidecartest"
)

// reload puts another configuration of a running sidecar in force.
func reload(t *testing.T, sc *sidecartest.Sidecar, brokers []string, change func(*sidecar.Config)) (sidecar.Reloads, error) {
	t.Helper()
	return sc.Reload(func() (sidecar.Config, error) {
		cfg := sidecar.Config{Brokers: brokers, Linger: -1, DrainTimeout: 5 * time.Second, Listen: sc.Target}
		change(&cfg)
		return cfg, nil
	})
}

func helloOf(t *testing.T, conn *grpc.ClientConn, app, session, token string) (*client, error) {
	t.Helper()
	c := openStream(t, conn)
	c.send(helloMsg(&sidecarpb.Hello{Version: 1, App: app, SessionId: session, Token: token}))
	return c, c.until(func() bool { return c.welcome != nil })
}

// A list that shrinks under traffic ends the sessions of who lost something, and of nobody else:
// what they sent is delivered and reported, each once, and they are judged by the new list when
// they come again.
func TestAListThatShrinks(t *testing.T) {
	kafka := cluster(t)
	old := []sidecar.App{{Name: "less", Topics: []string{"o*", "one"}, Token: "t"}, {Name: "same", Topics: []string{"out"}}, {Name: "more", Topics: []string{"out"}}, {Name: "gone"}, {Name: "token", Token: "old"}}
	sc := sidecartest.Start(t, kafka.ListenAddrs(), func(c *sidecar.Config) { c.Apps = old })
	conn := dial(t, sc.Target)
	clients, sent := map[string]*client{}, 0
	for name, token := range map[string]string{"less": "t", "same": "", "more": "", "gone": "", "token": "old"} {
		c, err := helloOf(t, conn, name, name, token)
		if err != nil {
			t.Fatal(name, err)
		}
		clients[name] = c
		c.units(plain("out", 100)...)
		sent += 100
		c.reported(1) // the others are on their way
	}
	_, err := reload(t, sc, kafka.ListenAddrs(), func(c *sidecar.Config) {
		c.Apps = []sidecar.App{{Name: "less", Topics: []string{"out"}, Token: "t"}, {Name: "same", Topics: []string{"out"}}, {Name: "more", Topics: []string{"out", "one"}}, {Name: "token", Token: "new"}, {Name: "new"}}
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range clients {
		c.reported(100)
		if len(c.acked) != 100 {
			t.Errorf("%s: %d acked, %d failed", name, len(c.acked), len(c.failed))
		}
		if name == "same" || name == "more" {
			if c.units(plain("out", 1)...); c.draining {
				t.Errorf("%s lost nothing, and is to begin anew", name)
			}
			sent++
			c.reported(101)
			continue
		}
		if err := c.until(func() bool { return false }); status.Code(err) != codes.Unavailable || !c.draining {
			t.Errorf("%s: its stream ended with %v, asked to leave: %t", name, err, c.draining)
		}
	}
	for _, x := range []struct {
		app, token string
		want       codes.Code
	}{{"less", "t", codes.OK}, {"gone", "", codes.PermissionDenied}, {"token", "old", codes.PermissionDenied}, {"token", "new", codes.OK}, {"new", "", codes.OK}} {
		c, err := helloOf(t, conn, x.app, x.app, x.token)
		if status.Code(err) != x.want {
			t.Errorf("%s with token %q: %v, want %v", x.app, x.token, err, x.want)
		}
		if x.app == "less" && err == nil {
			c.units(append(plain("out", 1), plain("one", 1)...)...)
			sent++
			if c.reported(2); c.failed[2].GetError().GetCode() != wire.CodeTopicNotAllowed || !c.acked[1] {
				t.Errorf("the topic that was left out: %v", c.failed[2])
			}
		}
	}
	if got := consume(t, kafka.ListenAddrs(), "out", sent); len(got) != sent {
		t.Errorf("%d records, want %d", len(got), sent)
	}
	// The one that was left out comes back.
	if _, err := reload(t, sc, kafka.ListenAddrs(), func(c *sidecar.Config) { c.Apps = old }); err != nil {
		t.Fatal(err)
	}
	if _, err := helloOf(t, conn, "gone", "gone", ""); err != nil {
		t.Errorf("an app that is in the list again: %v", err)
	}
}

// A configuration with one wrong field, or that cannot be read, changes nothing at all, and is
// told; the next one that is right does.
func TestAReloadIsAllOrNothing(t *testing.T) {
	kafka, meter := cluster(t), measured.New()
	sc := sidecartest.Start(t, kafka.ListenAddrs(), func(c *sidecar.Config) {
		c.Apps, c.MeterProvider = []sidecar.App{{Name: "app"}}, meter
	})
	measures := func(applied, refused, now float64) {
		v := meter.Collect(t)
		v.Want(t, applied, telemetry.Reloads, telemetry.Outcome.String("applied"))
		v.Want(t, refused, telemetry.Reloads, telemetry.Outcome.String("refused"))
		v.Want(t, now, telemetry.ReloadRefused)
	}
	measures(0, 0, 0)
	conn := dial(t, sc.Target)
	other := func(c *sidecar.Config) {
		c.Apps, c.PartitionRecords, c.MaxConnections = []sidecar.App{{Name: "other"}}, 1, 1
	}
	served := func(app string) bool {
		_, err := sidecarpb.NewSidecarClient(conn).Emit(t.Context(), &sidecarpb.EmitRequest{App: app, Record: &sidecarpb.Record{Topic: "out"}})
		return err == nil
	}
	torn := errors.New("torn")
	for i, try := range []func() error{
		func() error {
			_, err := reload(t, sc, kafka.ListenAddrs(), func(c *sidecar.Config) { other(c); c.WillTimeout = -1 })
			return err
		},
		func() error {
			_, err := sc.Reload(func() (sidecar.Config, error) { return sidecar.Config{}, torn })
			return err
		},
	} {
		err := try()
		var field *sidecar.ConfigError
		if err == nil || i == 0 && (!errors.As(err, &field) || field.Field != "WillTimeout") || i == 1 && !errors.Is(err, torn) {
			t.Errorf("%d: %v", i, err)
		}
		if st := sc.Reloads(); st.Failed != uint64(i+1) || st.Done != 0 || st.Err == nil || st.At.IsZero() {
			t.Errorf("%d: %+v", i, st)
		}
		if !served("app") || served("other") {
			t.Errorf("%d: half of it is in force", i)
		}
		measures(0, float64(i+1), 1)
	}
	if _, err := reload(t, sc, kafka.ListenAddrs(), other); err != nil {
		t.Fatal(err)
	}
	if st := sc.Reloads(); st.Failed != 2 || st.Done != 1 || st.Err != nil {
		t.Errorf("%+v", st)
	}
	measures(1, 2, 0)
	if served("app") || !served("other") {
		t.Error("it is not in force")
	}
	if more := dial(t, sc.Target); func() bool {
		_, err := sidecarpb.NewSidecarClient(more).Status(t.Context(), &sidecarpb.StatusRequest{})
		return err == nil
	}() {
		t.Error("one connection may be open, and two are")
	}
}

// Each field of the configuration can change, or says that it waits for a restart, or is none that
// a reload looks at: the documentation names them.
func TestFieldsThatWaitForARestart(t *testing.T) {
	kafka := cluster(t)
	sc := sidecartest.Start(t, kafka.ListenAddrs(), nil)
	unseen := []string{"Options", "Partitioner", "Listener", "TLS", "MeterProvider", "TracerProvider", "Version", "Logger"}
	live := []string{"Apps", "Routes", "RouteSetters", "AppBytes", "AppRecords", "PartitionBytes", "PartitionRecords", "MaxConnections", "AllowUIDs", "AllowGIDs", "DrainTimeout", "ReconnectGrace", "WillTimeout"}
	same := func(c *sidecar.Config) {}
	if got, err := reload(t, sc, kafka.ListenAddrs(), same); err != nil || len(got.Restart) > 0 {
		t.Errorf("nothing differs: %+v, %v", got, err)
	}
	for f := range reflect.TypeFor[sidecar.Config]().Fields() {
		if slices.Contains(unseen, f.Name) {
			continue
		}
		got, err := reload(t, sc, kafka.ListenAddrs(), func(c *sidecar.Config) {
			switch f.Name {
			case "Listen":
				c.Listen = "unix:///tmp/another.sock"
			case "StateDir":
				c.StateDir = "/tmp/another"
			case "SocketMode":
				c.SocketMode = 0o770
			case "Brokers":
				c.Brokers = []string{"another:9092"}
			case "Apps":
				c.Apps = []sidecar.App{{Name: "a"}}
			case "Routes":
				c.Routes = []sidecar.Route{{App: "a", Topic: "t", By: "sidecar"}}
			case "MetricsPerTopic":
				c.MetricsPerTopic = true
			case "AllowUIDs", "AllowGIDs":
				reflect.ValueOf(c).Elem().FieldByName(f.Name).Set(reflect.ValueOf([]uint32{7}))
			case "Linger", "DrainTimeout", "ReconnectGrace", "WillTimeout":
				reflect.ValueOf(c).Elem().FieldByName(f.Name).SetInt(int64(3 * time.Second))
			case "TransactionalID":
				c.TransactionalID = "pod-0"
			case "CommitEvery", "TransactionTimeout":
				return // they wait with the TransactionalID
			case "RouteSetters":
				c.RouteSetters = []sidecar.RouteSetter{{UIDs: []uint32{7}, Apps: []string{"a"}}}
			case "MaxLinger":
				c.Linger, c.MaxLinger = time.Millisecond, 3*time.Second
			case "MaxRecordBytes":
				c.MaxRecordBytes = 1 << 20
			case "MaxMessageBytes":
				c.MaxMessageBytes, c.MaxRecordBytes = 8<<20, sidecar.DefaultMaxRecordBytes
			case "MaxBytes", "MaxRecords":
				reflect.ValueOf(c).Elem().FieldByName(f.Name).SetInt(128 << 20)
			default:
				reflect.ValueOf(c).Elem().FieldByName(f.Name).SetInt(100)
			}
		})
		if err != nil {
			t.Errorf("%s: %v", f.Name, err)
			continue
		}
		if strings.HasPrefix(f.Name, "Transaction") || f.Name == "CommitEvery" {
			want := 0
			if f.Name == "TransactionalID" {
				want = 4 // and MaxRecords, which it has another default of
			}
			if len(got.Restart) != want {
				t.Errorf("%s: %+v wait for a restart", f.Name, got.Restart)
			}
			continue
		}
		if strings.HasSuffix(f.Name, "Linger") { // one moves the other
			if len(got.Restart) != 2 || got.Restart[0].Field != "Linger" || got.Restart[1].Field != "MaxLinger" {
				t.Errorf("%s: %+v wait for a restart", f.Name, got.Restart)
			}
			continue
		}
		waits := len(got.Restart) == 1 && got.Restart[0].Field == f.Name && got.Restart[0].Before != got.Restart[0].Now
		if waits == slices.Contains(live, f.Name) {
			t.Errorf("%s: %+v wait for a restart", f.Name, got.Restart)
		}
	}
}

// A Hello that meets a new list is judged by it: whenever it came, no session of an app that is not
// in the list any more is left.
func TestAHelloMeetsAReload(t *testing.T) {
	kafka := cluster(t)
	sc := sidecartest.Start(t, kafka.ListenAddrs(), func(c *sidecar.Config) { c.Apps = []sidecar.App{{Name: "app"}} })
	conn := dial(t, sc.Target)
	for round := range 20 {
		var hellos sync.WaitGroup
		begun := make(chan struct{}, 8)
		for range 8 {
			hellos.Go(func() {
				c := openStream(t, conn)
				begun <- struct{}{}
				_ = c.stream.SendMsg(helloMsg(&sidecarpb.Hello{Version: 1, App: "app", SessionId: "s" + string(rune('a'+round)) + strings.Repeat("x", len(begun))}))
				if err := c.until(func() bool { return false }); status.Code(err) != codes.Unavailable && status.Code(err) != codes.PermissionDenied && status.Code(err) != codes.Aborted {
					t.Errorf("its stream ended with %v", err)
				}
			})
		}
		<-begun
		for _, name := range []string{"other", "app", "other"} {
			if _, err := reload(t, sc, kafka.ListenAddrs(), func(c *sidecar.Config) { c.Apps = []sidecar.App{{Name: name}} }); err != nil {
				t.Fatal(err)
			}
		}
		ended := make(chan struct{})
		go func() { hellos.Wait(); close(ended) }()
		select {
		case <-ended: // every stream
		case <-time.After(time.Minute):
			t.Fatal("a session of an app that is not in the list any more is open")
		}
		if _, err := reload(t, sc, kafka.ListenAddrs(), func(c *sidecar.Config) { c.Apps = []sidecar.App{{Name: "app"}} }); err != nil {
			t.Fatal(err)
		}
	}
}

// A session whose stream broke does not keep, by coming back, what a list took from it meanwhile:
// it is asked to begin again, and is judged by the new list.
func TestABrokenStreamMeetsAReload(t *testing.T) {
	kafka := cluster(t)
	sc := sidecartest.Start(t, kafka.ListenAddrs(), func(c *sidecar.Config) {
		c.Apps, c.ReconnectGrace = []sidecar.App{{Name: "app", Groups: []string{"g"}}}, time.Minute
	})
	conn := dial(t, sc.Target)
	c, err := begin(t, conn, &sidecarpb.Hello{SessionId: "s"})
	if err != nil {
		t.Fatal(err)
	}
	c.send(groupAssign("g", "m", 0))
	c.units(plain("out", 1)...)
	c.reported(1)
	c.cancel()
	for state := ""; state != "broken"; {
		st, err := sidecarpb.NewSidecarClient(conn).Status(t.Context(), &sidecarpb.StatusRequest{})
		if err != nil {
			t.Fatal(err)
		}
		state = st.GetSessions()[0].GetState()
	}
	if _, err := reload(t, sc, kafka.ListenAddrs(), func(c *sidecar.Config) {
		c.Apps, c.ReconnectGrace, c.DrainTimeout = []sidecar.App{{Name: "app", Groups: []string{"h"}}}, time.Minute, 100*time.Millisecond
	}); err != nil {
		t.Fatal(err)
	}
	again := &sidecarpb.Hello{SessionId: "s", PreviousSidecarId: c.welcome.GetSidecarId()}
	back, err := begin(t, conn, again)
	if err != nil || !back.welcome.GetResumed() {
		t.Fatalf("%v, %v", back.welcome, err)
	}
	back.next = 2
	back.units(plain("out", 1)...)
	if err := back.until(func() bool { return back.draining || back.acked[2] }); err != nil || !back.draining {
		t.Fatalf("it goes on with a group that was taken from it: %v", err)
	}
	if err := back.until(func() bool { return false }); status.Code(err) != codes.Unavailable {
		t.Errorf("its stream ended with %v", err)
	}
	anew, err := begin(t, conn, again)
	if err != nil || anew.welcome.GetResumed() {
		t.Fatalf("%v, %v", anew.welcome, err)
	}
	anew.send(groupAssign("g", "m", 0))
	if err := anew.until(func() bool { return false }); !strings.Contains(status.Convert(err).Message(), wire.CodeGroupNotAllowed) {
		t.Errorf("it speaks for the group again: %v", err)
	}
}

// Limits of connections count what is open: a lower one closes none, and lets nobody in before so
// many have ended.
func TestALowerLimitOfConnections(t *testing.T) {
	kafka := cluster(t)
	sc := sidecartest.Start(t, kafka.ListenAddrs(), nil)
	path := strings.TrimPrefix(sc.Target, "unix://")
	open := func() net.Conn {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	served := func(c net.Conn) bool { // a server speaks first: its settings
		n, _ := c.Read(make([]byte, 1))
		return n == 1
	}
	first, second := open(), open()
	defer first.Close()
	if !served(first) || !served(second) {
		t.Fatal("two connections")
	}
	if _, err := reload(t, sc, kafka.ListenAddrs(), func(c *sidecar.Config) { c.MaxConnections = 1 }); err != nil {
		t.Fatal(err)
	}
	third := open()
	defer third.Close()
	if served(third) {
		t.Error("a third one is let in")
	}
	if _, err := reload(t, sc, kafka.ListenAddrs(), func(c *sidecar.Config) { c.MaxConnections = 3 }); err != nil {
		t.Fatal(err)
	}
	fourth := open()
	defer fourth.Close()
	if !served(fourth) {
		t.Error("the higher limit is not in force")
	}
	second.Close()
}
