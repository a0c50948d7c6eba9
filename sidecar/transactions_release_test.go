package sidecar_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// What waits behind a transaction when its process gives it up, for it lost the partition or did
// not wait longer, is in none: it is read again, by another epoch of the same member, too.
func TestGivenUpIsNotCommitted(t *testing.T) {
	inTransactions(t, nil, func(t *testing.T, b *bubble) {
		m := b.mortal(t, "s", "", exactlyOnce)
		m.assignAs(b.part(t, 1))
		ends, let := b.held(kmsg.EndTxn)
		m.units(plain("out", 1)...)
		for ends.Load() == 0 {
			time.Sleep(10 * time.Millisecond)
		}
		m.units(from(0, 1)...) // behind it
		synctest.Wait()
		m.release(1, 1)
		m.send(&sidecarpb.DeliveryStreamRequest{Kind: &sidecarpb.DeliveryStreamRequest_Release{Release: &sidecarpb.Release{RequestId: 2, Epochs: []uint64{1}, GivenUp: true}}})
		synctest.Wait()
		let()
		m.reported(3)
		if len(m.acked) != 1 || len(m.failed) != 2 {
			t.Errorf("%d units are acknowledged and %d failed, of which one was in the transaction", len(m.acked), len(m.failed))
		}
		time.Sleep(time.Second)
		b.want(t, -1, 1)
		m.assignAs(b.part(t, 2))
		again := from(0, 1)
		for i := range again {
			again[i].src.Epoch = 2
		}
		m.units(again...)
		m.reported(5)
		b.want(t, 2, 3)
	})
}

// Releases of what is not held, again and again, do not have the transactions of others end before
// they are due: each costs the brokers some milliseconds.
func TestReleasesOfNothingEndNoTransactions(t *testing.T) {
	inTransactions(t, nil, func(t *testing.T, b *bubble) {
		m, other := b.mortal(t, "s", "", exactlyOnce), b.mortal(t, "other", "", exactlyOnce)
		m.assignAs(b.part(t, 1))
		before := b.ended(t)
		const units = 200 // of 10 ms
		for i := range uint64(units) {
			m.units(plain("out", 1)...)
			other.release(i, 1, i+2)
			if err := other.until(func() bool { return other.released[i] }); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		m.reported(units)
		if n := b.ended(t) - before; n > 25 {
			t.Errorf("%d transactions in two seconds", n)
		}
	})
}

// ended is how many transactions were committed.
func (b *bubble) ended(t *testing.T) uint64 {
	t.Helper()
	st, err := b.sc.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return st.GetTransactions().GetCommitted()
}
