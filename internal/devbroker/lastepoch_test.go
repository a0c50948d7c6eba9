package devbroker_test

import (
	"math"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/devbroker"
)

// A transaction in the last epoch of a producer has ended, and nobody has heard of it: who asks
// again is told the next producer, as by Kafka, and may take the id by the name that it has.
func TestWhoHasTheLastEpochIsKnown(t *testing.T) {
	const last = math.MaxInt16 - 1
	b := start(t, devbroker.Config{Topics: map[string]int{"out": 1}})
	asks := client(t, b)
	pid, epoch := int64(-1), int16(-1)
	take := func() {
		id := "id"
		req := kmsg.NewPtrInitProducerIDRequest()
		req.TransactionalID, req.TransactionTimeoutMillis, req.ProducerID, req.ProducerEpoch = &id, 1000, pid, epoch
		resp, err := req.RequestWith(t.Context(), asks)
		if err == nil {
			err = kerr.ErrorForCode(resp.ErrorCode)
		}
		if err != nil {
			t.Fatalf("producer %d, epoch %d: %v", pid, epoch, err)
		}
		pid, epoch = resp.ProducerID, resp.ProducerEpoch
	}
	for epoch < last-1 {
		take()
	}
	cl := client(t, b, kgo.TransactionalID("id")) // takes it
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := cl.ProduceSync(testContext(t), &kgo.Record{Topic: "out"}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	end := func() *kmsg.EndTxnResponse {
		req := kmsg.NewPtrEndTxnRequest()
		req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = "id", pid, last, true
		resp, err := req.RequestWith(testContext(t), asks)
		if err == nil {
			err = kerr.ErrorForCode(resp.ErrorCode)
		}
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	next, again := end(), end()
	if next.ProducerID == pid || next.ProducerEpoch != 0 || again.ProducerID != next.ProducerID || again.ProducerEpoch != 0 {
		t.Errorf("it is told %v, and then %v", next, again)
	}
	epoch = last
	if take(); pid != next.ProducerID {
		t.Errorf("the id was taken as producer %d, and is %d", pid, next.ProducerID)
	}
}
