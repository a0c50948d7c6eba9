package sidecar_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/podstate"
	"github.com/ackmark/ackmark/internal/proof/measured"
	"github.com/ackmark/ackmark/internal/telemetry"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/sidecar"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
	"github.com/ackmark/ackmark/sidecar/sidecartest"
)

// What an app sends is counted once when it is taken, and once when it has its fate: by the name of
// Kafka's error where it failed. What waits for Kafka is attempted, and not acknowledged.
func TestEmitsAreCountedOnceAndByTheirFate(t *testing.T) {
	meter := measured.New()
	inBubble(t, func(c *sidecar.Config) { c.MeterProvider = meter }, func(t *testing.T, b *bubble) {
		out, app := telemetry.Topic.String("out"), telemetry.App.String("app")
		c := hello(t, b.conn, "s")
		c.units(plain("out", 200)...)
		c.reported(200)
		c.units(plain("nowhere", 3)...)
		c.reported(203)
		emitted, err := sidecarpb.NewSidecarClient(b.conn).Emit(t.Context(), &sidecarpb.EmitRequest{App: "app", Record: &sidecarpb.Record{Topic: "out", Value: []byte("v")}})
		if err != nil || !emitted.GetSuccess() {
			t.Fatal(emitted, err)
		}

		got := meter.Collect(t)
		got.Want(t, 201, telemetry.Attempted, out, app)
		got.Want(t, 201, telemetry.Sent, out, app)
		got.Want(t, 3, telemetry.Attempted, telemetry.Topic.String("nowhere"))
		got.Want(t, 3, telemetry.Sent, telemetry.ErrorType.String("UNKNOWN_TOPIC_OR_PARTITION"))
		got.Want(t, 204, telemetry.Sent)
		got.Want(t, 5, telemetry.Latency, out)        // each 64th of the message, and the emit
		got.Want(t, 1, telemetry.QueueWait, out, app) // of its message
		if n, _ := got.Sum(telemetry.BatchSize, out); n == 0 {
			t.Error("no batch of the topic has a size")
		}
		got.Want(t, 1, telemetry.Sessions, app, telemetry.State.String("attached"))
		got.Want(t, 1, telemetry.SessionsOpened, telemetry.Outcome.String("new"))
		got.Want(t, 1, telemetry.KafkaReachable)
		if bad := got.Unlisted(); len(bad) > 0 {
			t.Errorf("attributes that the table does not have: %q", bad)
		}

		stuck := b.stick(0)
		c.units(testUnit{outs: []kgo.Record{{Topic: "out", Partition: 0, Value: []byte("waits")}}})
		time.Sleep(time.Second)
		synctest.Wait()
		got = meter.Collect(t)
		got.Want(t, 202, telemetry.Attempted, out, app)
		got.Want(t, 201, telemetry.Sent, out, app)
		got.Want(t, 1, telemetry.QueueRecords, out, telemetry.Partition.String("0"))
		got.Want(t, 1, telemetry.Outstanding, app, out)
		got.Want(t, 0, telemetry.Outstanding, app, telemetry.Topic.String("nowhere"))
		if n, _ := got.Sum(telemetry.Retried, out, telemetry.ErrorType.String("NOT_ENOUGH_REPLICAS")); n == 0 {
			t.Error("no batch was sent again")
		}
		stuck.Remove()
		c.reported(204)
		got = meter.Collect(t)
		got.Want(t, 1, telemetry.RetriedMessages, app, out) // not the others of its app
	})
}

// How near a limit is: one session of a default sidecar can never use up what all may have, so its
// own credit is what counts. What is known before it happens is told as 0.
func TestTheFullestOfEachLimitIsTold(t *testing.T) {
	meter := measured.New()
	change := func(c *sidecar.Config) {
		c.MeterProvider, c.MaxSessions, c.MaxRecords, c.PartitionRecords = meter, 2, 1600, 100
	}
	inBubble(t, change, func(t *testing.T, b *bubble) {
		told := func(reason string) float64 {
			v, n := meter.Collect(t).Sum(telemetry.QueueUsed, telemetry.Reason.String(reason))
			if n != 1 {
				t.Errorf("%d series of %s", n, reason)
			}
			return v
		}
		c := hello(t, b.conn, "s")
		if c.welcome.GetCredit().GetRecords() != 525 {
			t.Fatalf("the credit is %v", c.welcome.GetCredit())
		}
		for _, reason := range []string{"session_limit", "app_limit", "sidecar_limit", "partition_full"} {
			if v := told(reason); v != 0 {
				t.Errorf("%s of an idle sidecar is %v", reason, v)
			}
		}
		stuck := b.stick(0)
		c.units(to(0, 50, 10)...)
		time.Sleep(time.Second)
		synctest.Wait()
		for reason, want := range map[string]float64{"session_limit": 50.0 / 525, "app_limit": 50.0 / 1200, "sidecar_limit": 50.0 / 1600, "partition_full": 0.5} {
			if v := told(reason); v != want {
				t.Errorf("%s is %v, want %v", reason, v, want)
			}
		}
		stuck.Remove()
		c.reported(50)
		if v := told("session_limit"); v != 0 {
			t.Errorf("all is reported, and %v of the credit is used", v)
		}
		for _, ending := range []string{"complete", "superseded", "late", "refused", "failed"} {
			if v, n := meter.Collect(t).Sum(telemetry.Wills, telemetry.Outcome.String(ending)); v != 0 || n != 1 {
				t.Errorf("before any will, %s is %v in %d series: the first would be no increase", ending, v, n)
			}
		}
	})
}

// Without any provider, what is acknowledged tells the pod how long it took: from when it was
// received, the wait for a partition included. What is not acknowledged tells nothing yet.
func TestLatencyIsToldWithoutAProvider(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, b *bubble) {
		if l := b.sc.Pod().Latency; l == nil || *l != (podstate.Latency{}) {
			t.Errorf("of nothing: %+v", l)
		}
		c := hello(t, b.conn, "s")
		c.units(plain("out", 1)...)
		c.reported(1)
		stuck := b.stick(0)
		c.units(to(0, 65, 10)...)
		time.Sleep(5 * time.Second)
		if l := b.sc.Pod().Latency; l.Count != 1 || l.P999 > 2_000_000 {
			t.Errorf("of one that is acknowledged, of 66: %+v", l)
		}
		stuck.Remove()
		c.reported(66)
		l := b.sc.Pod().Latency
		if l.Count != 3 || l.P50 < 4_900_000 || l.P99 < l.P50 || l.P999 > 20_000_000 {
			t.Errorf("two of 65 waited for five seconds: %+v", l)
		}
		time.Sleep(31 * time.Second)
		if l := b.sc.Pod().Latency; l.Count != 0 || l.P99 != 0 {
			t.Errorf("after half a minute: %+v", l)
		}
	})
}

// Refusals are counted by their code, and those that say when to come back.
func TestRefusedEmitsAreCounted(t *testing.T) {
	meter := measured.New()
	inBubble(t, func(c *sidecar.Config) { small(c); c.ReportRing = 2; c.MeterProvider = meter }, func(t *testing.T, b *bubble) {
		for range 3 {
			b.queue(t, 1)
		}
		app, out := telemetry.App.String("app"), telemetry.Topic.String("out")
		got := meter.Collect(t)
		got.Want(t, 1, telemetry.Refused, telemetry.ErrorType.String("FULL"), app, out)
		got.Want(t, 1, telemetry.RetryAfter, app, out)
		got.Want(t, 2, telemetry.Attempted, app)
		if n, series := got.Sum(telemetry.RetryAfter, app); n != 1 || series != 2 {
			t.Errorf("%v refusals in %d series, want the topic's, and one that was there before", n, series)
		}

		// Topics need not exist to be refused, and a peer may name any number of them. Names that
		// Kafka could not have take no place of others.
		refuse := func(topic string) {
			if resp, err := sidecarpb.NewSidecarClient(b.conn).Emit(t.Context(), &sidecarpb.EmitRequest{App: "app", Record: &sidecarpb.Record{Topic: topic, TimestampMs: new(int64(math.MaxInt64))}}); err != nil || resp.GetSuccess() {
				t.Fatal(resp, err)
			}
		}
		for i := range 300 {
			refuse(fmt.Sprint("not Kafka's ", i))
		}
		for i := range 300 {
			refuse(fmt.Sprint("t.", i))
		}
		got = meter.Collect(t)
		got.Want(t, 601, telemetry.Refused, app)
		got.Want(t, 1, telemetry.Refused, app, telemetry.Topic.String("t.150"))
		if _, series := got.Sum(telemetry.Refused, app); series > 202 { // 200 topics, others, and FULL

			t.Errorf("%d series of one app's refusals", series)
		}
		if bad := got.Unlisted(); len(bad) > 0 {
			t.Errorf("attributes that the table does not have: %q", bad)
		}
	})
}

// Dead letters are known by their headers, as package pipeline writes them, and counted by the code
// in them. Whatever a peer writes there is a label only if it has the form of one.
func TestLettersAreCountedByTheirError(t *testing.T) {
	meter := measured.New()
	inBubble(t, func(c *sidecar.Config) { c.MeterProvider = meter }, func(t *testing.T, b *bubble) {
		letter := func(code string) testUnit {
			headers := []kgo.RecordHeader{{Key: "mine", Value: []byte("x")}, {Key: pipeline.HeaderTopic, Value: []byte("in")}, {Key: pipeline.HeaderError, Value: []byte("secret")}}
			if code != "" {
				headers = append(headers, kgo.RecordHeader{Key: pipeline.HeaderCode, Value: []byte(code)})
			}
			return testUnit{outs: []kgo.Record{{Topic: "out", Partition: -1, Value: []byte("v"), Headers: append(headers, kgo.RecordHeader{Key: pipeline.HeaderCount, Value: []byte("1")})}}}
		}
		c := hello(t, b.conn, "s")
		c.units(letter("MESSAGE_TOO_LARGE"), letter(""), letter("Not a code"), letter(strings.Repeat("A", 100)))
		c.units(plain("out", 2)...)
		c.reported(6)
		got := meter.Collect(t)
		got.Want(t, 4, telemetry.Letters, telemetry.Topic.String("out"), telemetry.App.String("app"))
		got.Want(t, 1, telemetry.Letters, telemetry.ErrorType.String("MESSAGE_TOO_LARGE"))
		got.Want(t, 1, telemetry.Letters, telemetry.ErrorType.String("REJECTED"))
		got.Want(t, 2, telemetry.Letters, telemetry.ErrorType.String("_OTHER"))
	})
}

// 500 sessions of as many apps, one of which names topics and errors without end, make no more
// series than are told apart; what is beyond is counted as others'.
func TestPeersMakeNoSeriesWithoutEnd(t *testing.T) {
	meter := measured.New()
	change := func(c *sidecar.Config) {
		c.MeterProvider, c.MaxSessions, c.MaxConnections = meter, 512, 1024
		c.MaxBytes, c.MaxRecords = 256<<20, 1<<20
	}
	inBubble(t, change, func(t *testing.T, b *bubble) {
		const apps, names, letters = 500, 400, 100
		for i := range apps {
			c := openStream(t, b.conn)
			c.send(&sidecarpb.DeliveryStreamRequest{Kind: &sidecarpb.DeliveryStreamRequest_Hello{Hello: &sidecarpb.Hello{Version: 1, App: fmt.Sprint("app-", i), SessionId: fmt.Sprint("s-", i)}}})
			if err := c.until(func() bool { return c.welcome != nil }); err != nil {
				t.Fatal(err)
			}
			units := plain("out", 1)
			if i == 0 {
				for n := range names {
					units = append(units, testUnit{outs: []kgo.Record{{Topic: fmt.Sprint("t.", n), Partition: -1}}})
				}
				for n := range letters {
					headers := []kgo.RecordHeader{{Key: pipeline.HeaderError}, {Key: pipeline.HeaderCode, Value: fmt.Append(nil, "C_", n)}}
					units = append(units, testUnit{outs: []kgo.Record{{Topic: "out", Partition: -1, Headers: headers}}})
				}
			}
			c.units(units...)
			c.reported(len(units))
		}
		got := meter.Collect(t)
		got.Want(t, apps+letters, telemetry.Attempted, telemetry.Topic.String("out"))
		got.Want(t, letters, telemetry.Letters)
		if _, n := got.Sum(telemetry.Letters); n > 9 {
			t.Errorf("%d series of one app's letters to one topic", n)
		}
		got.Want(t, apps, telemetry.Sessions, telemetry.State.String("attached"))
		if _, n := got.Sum(telemetry.Sessions); n > 201 {
			t.Errorf("%d series of sessions", n)
		}
		got.Want(t, apps, telemetry.SessionsOpened, telemetry.Outcome.String("new"))
		got.Want(t, apps-200, telemetry.SessionsOpened, telemetry.Outcome.String("new"), telemetry.App.String(telemetry.Other))
		for of, most := range map[*telemetry.Metric]int{telemetry.SessionsOpened: 4 * 201, telemetry.Wills: 5 * 201, telemetry.CreditWaits: 4 * 201} {
			if _, n := got.Sum(of); n > most {
				t.Errorf("%d series of %s", n, of.Name)
			}
		}
		if _, n := got.Sum(telemetry.Attempted, telemetry.App.String("app-0")); n > 201 {
			t.Errorf("%d topics of one app", n)
		}
		got.Want(t, names, telemetry.Sent, telemetry.App.String("app-0"), telemetry.ErrorType.String("UNKNOWN_TOPIC_OR_PARTITION"))
		got.Want(t, names/2+1, telemetry.Sent, telemetry.App.String("app-0"), telemetry.Topic.String(telemetry.Other)) // "out" has a label, too
	})
}

// Who collects while a sidecar drains and ends gets an answer each time, and never a number that
// falls; when it has ended, nothing of it.
func TestScrapesDuringShutdown(t *testing.T) {
	meter := measured.New()
	sc := sidecartest.Start(t, cluster(t).ListenAddrs(), func(c *sidecar.Config) { c.MeterProvider = meter })
	c := hello(t, dial(t, sc.Target), "s")
	c.units(plain("out", 500)...)
	c.reported(1) // the others are on their way
	stopped := make(chan struct{})
	meter.Collect(t)
	go func() {
		defer close(stopped)
		_ = sc.Stop()
	}()
	sent := 0.0
	for over := false; !over; {
		v := meter.Collect(t)
		n, series := v.Sum(telemetry.Sent)
		if series > 0 && n < sent {
			t.Errorf("%v were acknowledged, and then %v", sent, n)
		}
		sent = max(sent, n)
		select {
		case <-stopped:
			over = true
		default:
		}
	}
	if _, series := meter.Collect(t).Sum(telemetry.Sent); series != 0 {
		t.Errorf("%d series of a sidecar that has ended", series)
	}
}

// What a transaction waits for is told while it waits, and what became of it afterwards.
func TestTransactionsAreTold(t *testing.T) {
	meter := measured.New()
	inTransactions(t, func(c *sidecar.Config) { c.MeterProvider = meter }, func(t *testing.T, b *bubble) {
		id, of := telemetry.TransactionalID.String("pod-0"), telemetry.Outcome.String
		m := b.mortal(t, "s", "", exactlyOnce)
		m.assignAs(b.part(t, 1))
		got := meter.Collect(t)
		got.Want(t, 0, telemetry.TransactionAge, id)
		got.Want(t, 0, telemetry.Transactions, id, of("aborted")) // the first one would be no increase else
		_, let := b.held(kmsg.EndTxn)
		m.units(from(0, 1, 2)...)
		synctest.Wait()
		time.Sleep(3 * time.Second)
		got = meter.Collect(t)
		if age, _ := got.Sum(telemetry.TransactionAge, id); age < 3 || age > 4 {
			t.Errorf("after three seconds the age is %v", age)
		}
		got.Want(t, 1, telemetry.TransactionalIDs, id, telemetry.State.String("working"))
		pod := b.sc.Pod()
		x := pod.Sidecar.Transactions
		if x == nil || x.ID != "pod-0" || x.State != "closing" || pod.Time.Sub(x.UncommittedSince).Round(time.Second) != 3*time.Second || !pod.Sessions[0].ExactlyOnce {
			t.Errorf("the pod tells %+v of sessions %+v", x, pod.Sessions)
		}
		let()
		m.reported(3)
		got = meter.Collect(t)
		got.Want(t, 1, telemetry.Transactions, id, of("committed"))
		got.Want(t, 3, telemetry.TransactionUnits, id, of("committed"))
		got.Want(t, 1, telemetry.TransactionTime, id, of("committed"))
		got.Want(t, 0, telemetry.TransactionAge, id)
		if x := b.sc.Pod().Sidecar.Transactions; x.Committed != 1 || x.Aborted != 0 || !x.UncommittedSince.IsZero() {
			t.Errorf("the pod tells %+v", x)
		}
		if bad := got.Unlisted(); len(bad) > 0 {
			t.Errorf("attributes that the table does not have: %q", bad)
		}
	})
}
