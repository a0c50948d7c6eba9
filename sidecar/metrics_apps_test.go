package sidecar_test

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/ackmark/ackmark/internal/proof/measured"
	"github.com/ackmark/ackmark/internal/telemetry"
	"github.com/ackmark/ackmark/sidecar"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// Whose process died, came back or was taken for dead is told, of each app that came; what did not
// happen to it yet is 0, or its first time would be no increase.
func TestSessionsAndWillsAreOfAnApp(t *testing.T) {
	meter := measured.New()
	inDeath(t, func(c *sidecar.Config) { c.MeterProvider = meter }, func(t *testing.T, b *bubble) {
		app, other, of := telemetry.App.String("app"), telemetry.App.String("other-app"), telemetry.Outcome.String
		m := b.mortal(t, "s", "")
		m.assignAs(b.part(t, 1))
		m.units(from(0, 1, 2)...)
		m.reported(3)
		neighbour := &sidecarpb.Hello{Version: 1, App: "other-app", SessionId: "n", Features: []string{"resume"}}
		begun := func(outcome string) *client {
			c := openStream(t, b.conn)
			c.send(helloMsg(neighbour))
			if err := c.until(func() bool { return c.welcome != nil }); err != nil {
				t.Fatal(err)
			}
			meter.Collect(t).Want(t, 1, telemetry.SessionsOpened, other, of(outcome))
			return c
		}
		c := begun("new")
		c.units(plain("out", 1)...)
		c.reported(1)
		neighbour.PreviousSidecarId = c.welcome.GetSidecarId()
		got := meter.Collect(t)
		for _, outcome := range []string{"complete", "superseded", "late", "refused", "failed"} {
			got.Want(t, 0, telemetry.Wills, app, of(outcome))
			got.Want(t, 0, telemetry.Wills, other, of(outcome))
		}
		for _, outcome := range []string{"resumed", "restored", "fenced"} {
			got.Want(t, 0, telemetry.SessionsOpened, app, of(outcome))
		}
		c.cancel()
		c = begun("resumed")

		m.cancel()
		time.Sleep(5 * time.Second)
		late := openStream(t, b.conn)
		late.send(helloMsg(&sidecarpb.Hello{Version: 1, App: "app", SessionId: "s", Features: []string{"resume"}, PreviousSidecarId: m.welcome.GetSidecarId()}))
		late.ends(codes.Aborted, "SESSION_FENCED")
		got = meter.Collect(t)
		got.Want(t, 1, telemetry.Wills, app, of("complete"))
		got.Want(t, 1, telemetry.Wills)
		got.Want(t, 1, telemetry.SessionsOpened, app, of("fenced"))
		got.Want(t, 0, telemetry.SessionsOpened, other, of("fenced"))
		got.Want(t, 1, telemetry.SessionsOpened, app, of("new"))
		if bad := got.Unlisted(); len(bad) > 0 {
			t.Errorf("attributes that the table does not have: %q", bad)
		}
		c.goodbye()
	})
}

// While the sidecar drains there is no will, and whose is told.
func TestSkippedWillsAreOfAnApp(t *testing.T) {
	meter := measured.New()
	inDeath(t, func(c *sidecar.Config) { c.MeterProvider = meter }, func(t *testing.T, b *bubble) {
		first := b.mortal(t, "s", "")
		second := &mortal{b: b, kafka: first.kafka, member: first.member, gen: first.gen}
		first.cancel()
		time.Sleep(500 * time.Millisecond)
		second.connect(t, &sidecarpb.Hello{SessionId: "another"}) // the same member: its process lives
		second.assignAs(b.part(t, 1))
		time.Sleep(5 * time.Second)
		meter.Collect(t).Want(t, 1, telemetry.Wills, telemetry.App.String("app"), telemetry.Outcome.String("skipped"), telemetry.Reason.String("member_lives"))
	})
}

// Who was refused is told as far as the sidecar knows the app: a name that is in no list has no
// label.
func TestRefusalsAreOfAnApp(t *testing.T) {
	meter := measured.New()
	change := func(c *sidecar.Config) {
		c.MeterProvider, c.Apps = meter, []sidecar.App{{Name: "app", Token: "secret", Topics: []string{"mine"}}, {Name: "listed"}}
	}
	inBubble(t, change, func(t *testing.T, b *bubble) {
		app, why := telemetry.App.String("app"), telemetry.Reason.String
		ask := func(name, token, topic string) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			resp, err := sidecarpb.NewSidecarClient(b.conn).Emit(ctx, &sidecarpb.EmitRequest{App: name, Token: token, Record: &sidecarpb.Record{Topic: topic}})
			if err == nil && resp.GetSuccess() {
				t.Errorf("app %q was let write to %q", name, topic)
			}
		}
		ask("app", "guess", "mine")
		ask("app", "secret", "out")
		ask("app", "secret", "out")
		ask("stranger", "", "out")
		got := meter.Collect(t)
		got.Want(t, 1, telemetry.Refusals, app, why("app or token"))
		got.Want(t, 2, telemetry.Refusals, app, why("topic"))
		got.Want(t, 2, telemetry.Refusals, why("app or token"))
		got.Want(t, 4, telemetry.Refusals)
		if n, series := got.Sum(telemetry.Refusals); series != 3 {
			t.Errorf("%v refusals in %d series", n, series)
		}
		if _, series := got.Sum(telemetry.Sessions, telemetry.App.String("stranger")); series != 0 {
			t.Error("a name that is in no list has a label")
		}
		got.Want(t, 0, telemetry.Wills, telemetry.App.String("listed"), telemetry.Outcome.String("superseded")) // before it comes
		if bad := got.Unlisted(); len(bad) > 0 {
			t.Errorf("attributes that the table does not have: %q", bad)
		}
	})
}
