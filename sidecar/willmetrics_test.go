package sidecar_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"google.golang.org/grpc/codes"

	"github.com/ackmark/ackmark/internal/podstate"
	"github.com/ackmark/ackmark/internal/proof/measured"
	"github.com/ackmark/ackmark/internal/telemetry"
	"github.com/ackmark/ackmark/sidecar"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// Every way in which a will ends, or does not begin, is told by its name, and as no other; and that
// it was executed is an incident, which says how.
func TestWillsAreToldByTheirOutcome(t *testing.T) {
	for name, c := range map[string]struct {
		fault   *kerr.Error // of commits
		stuck   bool
		cluster string
		lives   bool
		ended   string
		skipped string
	}{
		"complete":     {ended: "complete"},
		"superseded":   {fault: kerr.IllegalGeneration, ended: "superseded"},
		"failed":       {fault: kerr.GroupAuthorizationFailed, ended: "failed"},
		"late":         {stuck: true, ended: "late"},
		"refused":      {cluster: "another", ended: "refused", skipped: "other_cluster"},
		"member lives": {lives: true, ended: "complete", skipped: "member_lives"},
	} {
		t.Run(name, func(t *testing.T) {
			meter := measured.New()
			change := func(c *sidecar.Config) { c.MeterProvider, c.WillTimeout = meter, 3*time.Second }
			inDeath(t, change, func(t *testing.T, b *bubble) {
				m := b.mortal(t, "s", "")
				id := b.topicID(t)
				m.send(&sidecarpb.DeliveryStreamRequest{Kind: &sidecarpb.DeliveryStreamRequest_Assign{Assign: &sidecarpb.Assign{
					Group: "g", MemberId: m.member, Generation: m.gen, ClusterId: c.cluster, Partitions: []*sidecarpb.AssignedPartition{{Epoch: 1, Topic: "in", TopicId: id[:]}},
				}}})
				m.units(from(0, 1, 2)...)
				m.reported(3)
				if c.fault != nil {
					b.kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: c.fault, Count: -1})
				}
				var stuck []*kfake.FaultHandle
				if c.stuck {
					for p := range int32(3) {
						stuck = append(stuck, b.stick(p))
					}
					m.units(from(3)...)
					synctest.Wait()
				}
				m.cancel()
				if c.lives {
					m.client = nil
					m.connect(t, &sidecarpb.Hello{SessionId: "other"})
					m.assignAs()
				}
				time.Sleep(10 * time.Second)
				got, outcome := meter.Collect(t), telemetry.Outcome
				for _, ended := range []string{"complete", "superseded", "late", "refused", "failed"} {
					want := 0.0
					if ended == c.ended {
						want = 1
					}
					got.Want(t, want, telemetry.Wills, outcome.String(ended))
				}
				got.Want(t, 1, telemetry.WillTime)
				got.Want(t, 1, telemetry.WillTime, outcome.String(c.ended))
				if c.skipped != "" {
					got.Want(t, 1, telemetry.Wills, outcome.String("skipped"), telemetry.Reason.String(c.skipped))
				} else if n, series := got.Sum(telemetry.Wills, outcome.String("skipped")); series > 0 {
					t.Errorf("%v were skipped", n)
				}
				if in := only(t, b, podstate.Will); !strings.Contains(in.Reason, "its will is "+c.ended+", ") || in.App != "app" || in.Session == "" {
					t.Errorf("the incident is %+v", in)
				}
				for _, s := range stuck {
					s.Remove()
				}
			})
		})
	}
}

// only returns the pod's one incident of a kind.
func only(t *testing.T, b *bubble, kind podstate.Kind) podstate.Incident {
	t.Helper()
	var of []podstate.Incident
	for _, in := range b.sc.Pod().Incidents {
		if in.Kind == kind {
			of = append(of, in)
		}
	}
	if len(of) != 1 || of[0].Count != 1 || time.Since(of[0].Time).Abs() > time.Minute {
		t.Fatalf("incidents of kind %s: %+v, want one, of now", kind, of)
	}
	return of[0]
}

// A will that runs is told while it does, with what it waits for; how sessions came is told by how.
// Who comes back when it has run is fenced: counted, and told as an incident with the reason.
func TestWhoComesBackAndWhoIsFencedIsTold(t *testing.T) {
	meter := measured.New()
	inDeath(t, func(c *sidecar.Config) { c.MeterProvider = meter }, func(t *testing.T, b *bubble) {
		m, opened := b.mortal(t, "s", ""), func(how string, want float64) {
			t.Helper()
			meter.Collect(t).Want(t, want, telemetry.SessionsOpened, telemetry.Outcome.String(how))
		}
		again := func() *sidecarpb.Hello {
			return &sidecarpb.Hello{Version: 1, App: "app", SessionId: "s", Features: []string{"resume"}, PreviousSidecarId: m.welcome.GetSidecarId()}
		}
		opened("new", 1)
		opened("resumed", 0)
		m.cancel()
		synctest.Wait()
		m.connect(t, again())
		opened("resumed", 1)
		opened("fenced", 0)
		meter.Collect(t).Want(t, 0, telemetry.WillsRunning)
		stuck := b.stick(0)
		m.units(to(0, 1, 1000)...)
		synctest.Wait()
		got := meter.Collect(t)
		if n, _ := got.Sum(telemetry.OutstandingSize, telemetry.App.String("app")); n < 1000 || n > 2000 {
			t.Errorf("%v bytes are outstanding, one record of 1000 is", n)
		}
		if n, _ := got.Sum(telemetry.QueueSize, telemetry.Topic.String("out"), telemetry.Partition.String("0")); n < 1000 || n > 2000 {
			t.Errorf("%v bytes wait for the partition, one record of 1000 does", n)
		}
		m.cancel()
		time.Sleep(2 * time.Second) // the grace is over
		meter.Collect(t).Want(t, 1, telemetry.WillsRunning)
		stuck.Remove()
		time.Sleep(5 * time.Second)
		got = meter.Collect(t)
		got.Want(t, 0, telemetry.WillsRunning)
		got.Want(t, 0, telemetry.OutstandingSize, telemetry.App.String("app"))
		for _, in := range b.sc.Pod().Incidents {
			if in.Kind == podstate.Fence {
				t.Errorf("nobody came back yet: %+v", in)
			}
		}
		late := openStream(t, b.conn)
		late.send(helloMsg(again()))
		late.ends(codes.Aborted, "SESSION_FENCED")
		opened("fenced", 1)
		opened("new", 1)
		opened("resumed", 1)
		if in := only(t, b, podstate.Fence); in.App != "app" || in.Session == "" || in.Session == "s" || in.Reason == "" {
			t.Errorf("the incident is %+v", in)
		}
	})
}

// What a sidecar may take, and who was refused what, is told.
func TestLimitsAndRefusalsAreTold(t *testing.T) {
	meter := measured.New()
	change := func(c *sidecar.Config) {
		small(c)
		c.MeterProvider, c.Apps = meter, []sidecar.App{{Name: "app", Groups: []string{"mine"}, Topics: []string{"out"}}}
	}
	inBubble(t, change, func(t *testing.T, b *bubble) {
		c := hello(t, b.conn, "s")
		c.units(plain("out", 10)...)
		c.reported(10)
		got := meter.Collect(t)
		got.Want(t, 1<<20, telemetry.OutstandingSizeLimit)
		got.Want(t, 4096, telemetry.OutstandingLimit)
		connected := telemetry.Outcome.String("connected")
		if n, _ := got.Sum(telemetry.Connects, connected); n < 1 {
			t.Error("no connection to a broker is counted")
		}
		got.Want(t, 0, telemetry.Connects, telemetry.Outcome.String("failed"))
		requests, _ := got.Sum(telemetry.Requests)
		got.Want(t, max(requests, 1), telemetry.RequestTime) // each is timed
		got.Want(t, 0, telemetry.QueueFull)
		stuck := b.stick(0)
		c.units(to(0, 60, 10)...) // 50 may wait
		synctest.Wait()
		meter.Collect(t).Want(t, 1, telemetry.QueueFull)
		stuck.Remove()
		c.reported(70)
		if n, series := got.Sum(telemetry.Refusals); n != 0 {
			t.Errorf("%v refusals in %d series before any", n, series)
		}
		c.send(groupAssign("other", "member", 0))
		c.isRefused(func() bool { return false }, codes.PermissionDenied, "GROUP_NOT_ALLOWED")
		meter.Collect(t).Want(t, 1, telemetry.Refusals, telemetry.Reason.String("group"))
	})
}
