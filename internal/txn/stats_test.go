package txn_test

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/proof/measured"
	"github.com/ackmark/ackmark/internal/telemetry"
	"github.com/ackmark/ackmark/internal/txn"
)

// A transaction that is aborted again and again looks young each time: the age counts from the last
// commit on, and so does who is told.
func TestTheAgeOutlivesAborts(t *testing.T) {
	r := newRig(t)
	meter := measured.New()
	part := telemetry.New(meter, "transactions")
	lane := r.newLane(func(c *txn.Config) {
		c.ID, c.Number, c.Took = "told", 0, txn.NewTook(part, "told")
	})
	defer lane.Close()
	defer part.Observe(lane.Tell, txn.Rows...)()
	r.lane = lane
	const refusals = 4
	r.refuseOffsets(refusals, kerr.UnknownServerError)
	told := time.Now()
	a, b := r.enter(1, 0, 5, value(1)), r.enter(2, 0, 5, value(2))
	lane.Push(txn.Run{Batch: a, From: 0, To: 5})
	lane.Push(txn.Run{Batch: b, From: 0, To: 5})
	var first time.Time
	for aborted := int64(0); aborted < refusals; {
		asked := time.Now()
		s := lane.Stats()
		if s.Aborted > 0 && first.IsZero() {
			first = time.Now()
		}
		if after := asked.Sub(first); s.Aborted > 0 && s.Age < after && lane.Stats().Windows == 0 {
			t.Fatalf("%v after the first abort the age is %v", after, s.Age)
		}
		if s.Age > time.Since(told) {
			t.Fatalf("%v after the first unit the age is %v", time.Since(told), s.Age)
		}
		aborted = s.Aborted
	}
	a.allCommitted()
	b.allCommitted()
	r.until("nothing is left to commit", func() bool { return lane.Stats().Age == 0 })

	got := meter.Collect(t)
	id, of := telemetry.TransactionalID.String("told"), telemetry.Outcome.String
	s := lane.Stats()
	got.Want(t, float64(s.Windows), telemetry.Transactions, id, of("committed"))
	got.Want(t, refusals, telemetry.Transactions, id, of("aborted"))
	got.Want(t, 0, telemetry.Transactions, id, of("unknown"))
	got.Want(t, 10, telemetry.TransactionUnits, id, of("committed"))
	got.Want(t, float64(s.AbortedUnits), telemetry.TransactionUnits, id, of("aborted"))
	got.Want(t, float64(s.Windows), telemetry.TransactionTime, id, of("committed"))
	got.Want(t, refusals, telemetry.TransactionTime, id, of("aborted"))
	got.Want(t, 0, telemetry.TransactionAge, id)
	got.Want(t, 1, telemetry.TransactionalIDs, id, telemetry.State.String("working"))
	got.Want(t, 0, telemetry.RenewedIDs, id)
	if s.AbortedUnits < 5*refusals {
		t.Errorf("%d units in %d aborted transactions", s.AbortedUnits, s.Aborted)
	}
	if bad := got.Unlisted(); len(bad) > 0 {
		t.Errorf("attributes that the table does not have: %q", bad)
	}
}

// An id that somebody else took, and a transaction of which nobody heard how it ended.
func TestWhatIsToldOfAnIDThatIsLost(t *testing.T) {
	r := newRig(t)
	meter := measured.New()
	part := telemetry.New(meter, "transactions")
	defer part.Observe(r.lane.Tell, txn.Rows...)()
	said := 0
	r.cluster.ControlKey(int16(kmsg.EndTxn), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		r.cluster.KeepControl()
		if said++; said != 1 {
			return nil, nil, false
		}
		resp := kreq.ResponseKind().(*kmsg.EndTxnResponse)
		resp.ErrorCode = kerr.UnknownServerError.Code
		return resp, nil, true
	})
	r.push(1, 0, 5, value(1)).allCommitted()
	got := meter.Collect(t)
	got.Want(t, 1, telemetry.Transactions, telemetry.Outcome.String("unknown"))
	got.Want(t, 1, telemetry.RenewedIDs)
	other := r.newLane()
	defer other.Close()
	r.push(1, 5, 1, value(1)).await()
	r.awaitTaken()
	meter.Collect(t).Want(t, 1, telemetry.TransactionalIDs, telemetry.State.String("fenced"))
}
