package sidecar_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// What a session leaves behind, while the brokers keep the transactions waiting, is given back when
// it is over, units without an input among it: others need that room.
func TestADeadSessionKeepsNoMemory(t *testing.T) {
	inTransactions(t, nil, func(t *testing.T, b *bubble) {
		first := b.mortal(t, "s", "", exactlyOnce)
		ends, let := b.held(kmsg.EndTxn)
		first.units(plain("out", 1)...)
		time.Sleep(time.Second)
		if ends.Load() == 0 {
			t.Fatal("no transaction is about to end")
		}
		waiting, _ := b.sc.Pinned()
		m := &mortal{b: b, member: first.member, gen: first.gen, more: first.more}
		m.connect(t, &sidecarpb.Hello{SessionId: "t"})
		m.assignAs(b.part(t, 1))
		m.units(from(0, 1, 2)...)
		m.units(plain("out", 3)...)
		synctest.Wait()
		if now, _ := b.sc.Pinned(); now <= waiting {
			t.Fatalf("%d bytes are held, and %d before: nothing is tested", now, waiting)
		}
		m.cancel()
		time.Sleep(4 * time.Second) // its grace, and what the units of a dead process are waited for
		if now, _ := b.sc.Pinned(); now != waiting {
			t.Errorf("%d bytes are held, %d of them of who is dead", now, now-waiting)
		}
		let()
		first.reported(1)
		b.want(t, -1, 1)
	})
}
