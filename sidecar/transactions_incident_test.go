package sidecar_test

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/podstate"
	"github.com/ackmark/ackmark/internal/wire"
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
