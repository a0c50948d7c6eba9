package sidecar_test

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/podstate"
	"github.com/ackmark/ackmark/internal/proof/measured"
	"github.com/ackmark/ackmark/internal/telemetry"
	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar"
)

// An aborted transaction is an incident of the sidecar's own, with the id, the reason and how many
// units it had; one that a peer tells of is not taken.
func TestAnAbortIsAnIncident(t *testing.T) {
	inTransactions(t, nil, func(t *testing.T, b *bubble) {
		m := b.mortal(t, "s", "", exactlyOnce)
		m.assignAs(b.part(t, 1))
		m.units(testUnit{src: wire.Source{Epoch: 1, Index: 0, Offset: 0}, outs: []kgo.Record{{Topic: "out", Partition: 99, Value: []byte("nowhere")}}})
		m.reported(1)
		pod := b.sc.Server.Pod()
		if len(pod.Incidents) != 1 {
			t.Fatalf("%+v", pod.Incidents)
		}
		in := pod.Incidents[0]
		if in.Kind != podstate.Abort || in.Session != "" || in.Count != 1 || pod.Sidecar.Transactions.Aborted != 1 ||
			!strings.HasPrefix(in.Reason, "pod-0: a transaction of 1 units was aborted, 1 of them to blame: ") || !strings.Contains(in.Reason, "partition") {
			t.Errorf("%+v", in)
		}
	})
}

// What is sent again is told by app and topic: the records of an aborted transaction that are
// committed by another one, and those whose batch a broker refused for a while.
func TestRecordsSentAgainInTransactions(t *testing.T) {
	meter := measured.New()
	inTransactions(t, func(c *sidecar.Config) { c.MeterProvider = meter }, func(t *testing.T, b *bubble) {
		app, out := telemetry.App.String("app"), telemetry.Topic.String("out")
		m := b.mortal(t, "s", "", exactlyOnce)
		m.assignAs(b.part(t, 1))
		m.units(from(0)...)
		m.reported(1)
		meter.Collect(t).Want(t, 0, telemetry.RetriedMessages, app, out)

		bad := testUnit{src: wire.Source{Epoch: 1, Index: 1, Offset: 1}, outs: []kgo.Record{{Topic: "out", Partition: 99, Value: []byte("nowhere")}}}
		m.units(append(from(2, 3), bad)...) // one message, so one transaction
		m.reported(4)
		meter.Collect(t).Want(t, 2, telemetry.RetriedMessages, app, out)

		b.kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicas, Count: 1})
		m.units(from(4)...)
		m.reported(5)
		got := meter.Collect(t)
		got.Want(t, 3, telemetry.RetriedMessages, app, out)
		if n, _ := got.Sum(telemetry.Retried, out, telemetry.ErrorType.String("NOT_ENOUGH_REPLICAS")); n != 1 {
			t.Errorf("%v batches of the topic were told as sent again", n)
		}
		b.kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.ConcurrentTransactions, Count: 1}) // kgo waits for it
		m.units(from(5)...)
		m.reported(6)
		got = meter.Collect(t)
		got.Want(t, 4, telemetry.RetriedMessages, app, out)
		got.Want(t, 1, telemetry.Retried, out, telemetry.ErrorType.String("CONCURRENT_TRANSACTIONS"))
		b.want(t, 1, 5) // the one that failed is not done
	})
}
