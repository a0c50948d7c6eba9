package reader

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/audit"
)

// written is a topic of inputs, and transactions that are made by hand: a topic of the name stands
// for what real brokers keep of the group's offsets.
type written struct {
	*testing.T
	opts []kgo.Opt
	cl   *kgo.Client
	id   string // of the input topic, as text
}

const writtenInputs = 6

func newWritten(t *testing.T) *written {
	w := &written{T: t, opts: broker(t)}
	feed := client(t, w.opts)
	topics, err := kadm.NewClient(feed).CreateTopics(t.Context(), 1, 1, nil, audit.OffsetsTopic)
	if err != nil || topics.Error() != nil {
		t.Fatal(err, topics.Error())
	}
	for range writtenInputs {
		produce(t, feed, &kgo.Record{Topic: "in", Key: []byte("one partition"), Value: []byte("x")})
	}
	ids, err := ids(t.Context(), w.opts, "in")
	if err != nil {
		t.Fatal(err)
	}
	id := ids["in"]
	w.id = base64.RawURLEncoding.EncodeToString(id[:])
	w.cl = client(t, w.opts, kgo.TransactionalID("x"))
	return w
}

func (w *written) partition() int32 {
	w.Helper()
	var of int32
	if err := Topic(w.Context(), w.opts, "in", func(r *kgo.Record) { of = r.Partition }); err != nil {
		w.Fatal(err)
	}
	return of
}

func (w *written) output(input int64) *kgo.Record {
	source := fmt.Appendf(nil, "in/%d/%d/0/1/%s/g", w.partition(), input, w.id)
	return &kgo.Record{Topic: "out", Value: []byte("X"), Headers: []kgo.RecordHeader{{Key: audit.HeaderSource, Value: source}}}
}

func (w *written) offset(offset int64) *kgo.Record {
	key := kmsg.OffsetCommitKey{Version: 1, Group: "g", Topic: "in", Partition: w.partition()}
	value := kmsg.OffsetCommitValue{Version: 3, Offset: offset, LeaderEpoch: -1}
	return &kgo.Record{Topic: audit.OffsetsTopic, Key: key.AppendTo(nil), Value: value.AppendTo(nil)}
}

// transaction writes records in one.
func (w *written) transaction(end kgo.TransactionEndTry, rs ...*kgo.Record) {
	w.Helper()
	if err := w.cl.BeginTransaction(); err != nil {
		w.Fatal(err)
	}
	produce(w.T, w.cl, rs...)
	if err := w.cl.EndTransaction(w.Context(), end); err != nil {
		w.Fatal(err)
	}
}

func (w *written) compare() Compared {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), 20*time.Second)
	defer cancel()
	c, err := Transactions(ctx, w.opts, "in", "out", audit.TransactionOptions{Group: "g"})
	if err != nil {
		w.Fatal(err)
	}
	return c
}

// Transactions that are whole are found so, and counted; what was aborted is not looked at.
func TestTransactionsAreRead(t *testing.T) {
	w := newWritten(t)
	w.transaction(kgo.TryCommit, w.output(0), w.output(1), w.offset(2))
	w.transaction(kgo.TryAbort, w.output(2), w.offset(4))
	w.transaction(kgo.TryCommit, w.output(2), w.output(3), w.output(4), w.output(5), w.offset(6))
	c := w.compare()
	if c.Transactions != 2 || c.Covered != writtenInputs {
		t.Errorf("%+v", c)
	}
	if err := c.Complete(writtenInputs); err != nil {
		t.Error(err)
	}
}

// A transaction that is torn is named, and so are inputs that were committed in none.
func TestTornTransactionsAreNamed(t *testing.T) {
	w := newWritten(t)
	w.transaction(kgo.TryCommit, w.output(0), w.output(1), w.output(2), w.offset(2)) // an output without its offset
	w.transaction(kgo.TryCommit, w.offset(4), w.output(3))                           // an offset without its output
	produce(t, client(t, w.opts), w.output(4), w.offset(5))
	c := w.compare()
	err := c.Complete(writtenInputs)
	if err == nil {
		t.Fatalf("nothing is wrong with %+v", c)
	}
	for _, says := range []string{"2 of 2 transactions are torn (S5)", string(audit.OutputsAlone), string(audit.OffsetAlone), "transactions commit 4 of 6 inputs"} {
		if !strings.Contains(err.Error(), says) {
			t.Errorf("it does not say %q:\n%v", says, err)
		}
	}
	if err := c.Whole(); err == nil || !strings.Contains(err.Error(), "input in/") || strings.Contains(err.Error(), "4 of 6") {
		t.Errorf("of the transactions alone it says: %v", err)
	}
}

// Where no transaction was there is no proof.
func TestNoTransactionsAreNoProof(t *testing.T) {
	w := newWritten(t)
	produce(t, client(t, w.opts), w.output(0), w.offset(1))
	if err := w.compare().Whole(); err == nil || !strings.Contains(err.Error(), "no transaction was looked at") {
		t.Error(err)
	}
}
