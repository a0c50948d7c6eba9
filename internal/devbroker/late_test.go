package devbroker_test

import (
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/devbroker"
)

// Records whose epoch is over begin no transaction in the epoch of now.
func TestLateRecordsBeginNothing(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *devbroker.Broker){
		"another one took the id": func(t *testing.T, b *devbroker.Broker) {
			younger := client(t, b, kgo.TransactionalID("id"))
			if _, _, err := younger.ProducerID(testContext(t)); err != nil {
				t.Fatal(err)
			}
		},
		"it timed out": func(t *testing.T, b *devbroker.Broker) {
			for ctx := testContext(t); stateOf(t, b, "id") == "Ongoing"; {
				if ctx.Err() != nil {
					t.Fatal("the transaction does not time out")
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, devbroker.Config{Topics: map[string]int{"out": 2}})
			cl := client(t, b, kgo.TransactionalID("id"), kgo.TransactionTimeout(time.Second), kgo.RecordPartitioner(kgo.ManualPartitioner()))
			if err := cl.BeginTransaction(); err != nil {
				t.Fatal(err)
			}
			if err := cl.ProduceSync(testContext(t), &kgo.Record{Topic: "out"}).FirstErr(); err != nil {
				t.Fatal(err)
			}
			end(t, b)
			before := stateOf(t, b, "id")
			err := cl.ProduceSync(testContext(t), &kgo.Record{Topic: "out", Partition: 1}).FirstErr()
			if !errors.Is(err, kerr.InvalidProducerEpoch) {
				t.Errorf("late records: %v", err)
			}
			if after := stateOf(t, b, "id"); after != before {
				t.Errorf("the id is %s, and was %s before late records", after, before)
			}
		})
	}
}

func stateOf(t *testing.T, b *devbroker.Broker, id string) string {
	t.Helper()
	req := kmsg.NewPtrDescribeTransactionsRequest()
	req.TransactionalIDs = []string{id}
	resp, err := req.RequestWith(testContext(t), client(t, b))
	if err != nil {
		t.Fatal(err)
	}
	return resp.TransactionStates[0].State
}

// Who is fenced ends its transaction in vain, and does not learn its successor's epoch by that.
func TestLateEndIsFenced(t *testing.T) {
	b := start(t, devbroker.Config{Topics: map[string]int{"out": 1}})
	cl := client(t, b, kgo.TransactionalID("id"))
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := cl.ProduceSync(testContext(t), &kgo.Record{Topic: "out"}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	id, epoch, err := cl.ProducerID(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := client(t, b, kgo.TransactionalID("id")).ProducerID(testContext(t)); err != nil {
		t.Fatal(err)
	}
	req := kmsg.NewPtrEndTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch = "id", id, epoch
	resp, err := req.RequestWith(testContext(t), client(t, b))
	if err != nil {
		t.Fatal(err)
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); !errors.Is(err, kerr.ProducerFenced) {
		t.Errorf("%v, with epoch %d", err, resp.ProducerEpoch)
	}
}
