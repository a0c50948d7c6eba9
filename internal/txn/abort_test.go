package txn_test

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/proof/measured"
	"github.com/ackmark/ackmark/internal/telemetry"
	"github.com/ackmark/ackmark/internal/txn"
)

// page is a log that is read while it is written.
type page struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (p *page) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.buf.Write(b)
}

func (p *page) lines(with string) (out []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for line := range strings.Lines(p.buf.String()) {
		if strings.Contains(line, with) {
			out = append(out, line)
		}
	}
	return out
}

// Each abort is told with its id, its reason and its units, and counted by the reason; in the log
// a storm of them has one line.
func TestAbortsAreTold(t *testing.T) {
	r := newRig(t)
	meter, log := measured.New(), new(page)
	aborts := make(chan txn.Abort, 99)
	lane := r.newLane(func(c *txn.Config) {
		c.ID, c.Number, c.Aborted = "orders-0", 0, func(a txn.Abort) { aborts <- a }
		c.Log = slog.New(slog.NewTextHandler(log, nil))
	})
	defer lane.Close()
	defer telemetry.New(meter, "transactions").Observe(lane.Tell, txn.Rows...)()
	r.lane = lane
	const refusals = 4
	r.refuseOffsets(refusals, kerr.UnknownServerError)
	a, b := r.enter(1, 0, 5, value(1)), r.enter(2, 0, 5, value(2))
	lane.Push(txn.Run{Batch: a, From: 0, To: 5})
	lane.Push(txn.Run{Batch: b, From: 0, To: 5})
	a.allCommitted()
	b.allCommitted()
	if len(aborts) != refusals {
		t.Errorf("%d aborts are told, want %d", len(aborts), refusals)
	}
	for range len(aborts) {
		x := <-aborts
		if x.ID != "orders-0" || x.Units < 5 || x.Blamed != 0 || !strings.Contains(x.String(), "UNKNOWN_SERVER_ERROR") {
			t.Errorf("%+v", x)
		}
	}
	got := log.lines("a transaction was aborted")
	if len(got) != 1 || !strings.Contains(got[0], "transactional_id=orders-0") || !strings.Contains(got[0], "UNKNOWN_SERVER_ERROR") || strings.Contains(got[0], "units=0") {
		t.Errorf("the log: %q", got)
	}

	// A unit that is to blame is the reason, though nothing else is.
	large := r.push(1, 5, 1, func(i, j int) []byte {
		if j > 0 {
			return nil
		}
		return make([]byte, 2<<20)
	})
	if err := large.await()[0]; !strings.Contains(err.Error(), "MESSAGE_TOO_LARGE") {
		t.Fatal(err)
	}
	if x := <-aborts; x.Blamed != 1 || x.Units < 1 || !strings.Contains(x.String(), "MESSAGE_TOO_LARGE") {
		t.Errorf("%+v", x)
	}
	v := meter.Collect(t)
	v.Want(t, refusals, telemetry.TransactionAborts, telemetry.ErrorType.String("UNKNOWN_SERVER_ERROR"))
	v.Want(t, 1, telemetry.TransactionAborts, telemetry.ErrorType.String("MESSAGE_TOO_LARGE"), telemetry.TransactionalID.String("orders-0"))
	if bad := v.Unlisted(); len(bad) > 0 {
		t.Errorf("attributes that the table does not have: %q", bad)
	}
}

// What is in hand when a lane ends is aborted, and told as any other: of a lane that is closed, and
// of one whose ids another one has taken.
func TestAbortAtTheEndIsTold(t *testing.T) {
	for want, end := range map[string]func(*rig){
		"CLOSED":                 func(r *rig) { r.lane.Close() },
		"TRANSACTIONAL_ID_TAKEN": func(r *rig) { r.t.Cleanup(r.newLane(younger).Close) },
	} {
		t.Run(want, func(t *testing.T) {
			r := newRig(t)
			r.lane.Close()
			meter, aborts := measured.New(), make(chan txn.Abort, 9)
			part := telemetry.New(meter, "transactions")
			r.lane = r.newLane(func(c *txn.Config) {
				c.Timeout = 5 * time.Second
				c.Aborted, c.Took = func(a txn.Abort) { aborts <- a }, txn.NewTook(part, "id")
			})
			t.Cleanup(r.lane.Close)
			defer part.Observe(r.lane.Tell, txn.Rows...)()
			refused := make(chan struct{})
			var once sync.Once
			r.cluster.ControlKey(int16(kmsg.TxnOffsetCommit), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
				r.cluster.KeepControl()
				once.Do(func() { close(refused) })
				return refusedAs(kreq, kerr.CoordinatorLoadInProgress), nil, true
			})
			u := r.push(1, 0, 5, value(1))
			<-refused
			end(r)
			u.await()
			v, id := meter.Collect(t), telemetry.TransactionalID.String("id")
			v.Want(t, 1, telemetry.TransactionAborts, id, telemetry.ErrorType.String(want))
			// One whose id is taken between its offsets and its end may take it back once, and
			// tries its units again.
			n := len(aborts)
			if n != 1 && (want == "CLOSED" || n != 2) {
				t.Fatalf("%d aborts are told", n)
			}
			v.Want(t, float64(n), telemetry.Transactions, id, telemetry.Outcome.String("aborted"))
			v.Want(t, float64(5*n), telemetry.TransactionUnits, id, telemetry.Outcome.String("aborted"))
			v.Want(t, float64(n), telemetry.TransactionTime, id, telemetry.Outcome.String("aborted"))
			for range n {
				if x := <-aborts; x.Units != 5 || x.Blamed != 0 {
					t.Errorf("%+v", x)
				}
			}
		})
	}
}
