package outlet_test

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/devbroker"
	"github.com/ackmark/ackmark/internal/outlet"
)

// Each record tells whether Kafka took it at a second try: after a refusal that passes, after a
// connection that broke, and beside a record that is to blame; and a pooled record tells only what
// happened to it now.
func TestWhatWasSentAgainIsKnown(t *testing.T) {
	retried := map[string]*atomic.Int32{"t": new(atomic.Int32)}
	r := newRigOf(t, devbroker.Rules{Compacted: true}, nil, func(cfg *outlet.Config) {
		cfg.Retried = func(topic string, _ error) { retried[topic].Add(1) }
	})
	to := r.out.Topic("t")
	to.Prepare(t.Context())
	recs := make([]outlet.Rec, 8)
	send := func(refusedKey bool) (again []string) {
		for i := range recs {
			x := &recs[i]
			keep := *x
			*x = outlet.Rec{}
			if keep.Again() {
				x.SentAgain() // as a pool gives it back
			}
			x.Record = kgo.Record{Topic: "t", Partition: int32(i % 2), Key: []byte("k"), Value: fmt.Append(nil, i)}
			x.To, x.Explicit = to, true
			x.Promise = func(*kgo.Record, error) { r.open.Done() }
			if refusedKey && i == 4 {
				x.Key = nil
			}
		}
		r.open.Add(len(recs))
		for i := range recs {
			r.out.Produce(&recs[i])
		}
		r.open.Wait()
		for i := range recs {
			if recs[i].Again() {
				again = append(again, string(recs[i].Value))
			}
		}
		return again
	}
	check := func(how string, refused bool, want ...string) {
		t.Helper()
		if got := send(refused); !slices.Equal(got, want) {
			t.Errorf("%s: %q were sent again, want %q", how, got, want)
		}
	}
	check("nothing happens", false)

	r.kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicas, Count: 1})
	got := send(false)
	if len(got) == 0 || retried["t"].Load() == 0 {
		t.Errorf("a refusal that passes: %q were sent again, %d batches were told", got, retried["t"].Load())
	}
	check("nothing happens any more", false)

	told := retried["t"].Load()
	r.kafka.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) { return nil, errors.New("the connection breaks"), true })
	if got = send(false); len(got) == 0 || retried["t"].Load() == told {
		t.Errorf("a connection that breaks: %q were sent again, %d batches more were told", got, retried["t"].Load()-told)
	}
	check("nothing happens any more", false)

	if got = send(true); !slices.Contains(got, "6") {
		t.Errorf("a record without a key before number 6: %q were sent again", got)
	}
	check("nothing happens any more", false)
}
