package sidecar_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/ackmark/ackmark/sidecar"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

func (m *mortal) inherit(id uint64, group, instance string) {
	m.send(inherit(id, group, instance))
}

// listen reads what the sidecar says, until the stream ends. The function that it returns tells
// whether a question is answered by now.
func (m *mortal) listen() (heard func(id uint64) bool) {
	answers := make(chan uint64, 2000)
	go func() {
		for m.until(func() bool { return len(m.heir) > 0 }) == nil {
			for id := range m.heir {
				answers <- id
				delete(m.heir, id)
			}
		}
	}()
	all := map[uint64]bool{}
	return func(id uint64) bool {
		synctest.Wait()
		for len(answers) > 0 {
			all[<-answers] = true
		}
		return all[id]
	}
}

// A static member's next process hears that it may join when the will of its former one is
// executed: not earlier, and without the rest of the grace.
func TestHeirWaitsForTheWill(t *testing.T) {
	inDeath(t, func(c *sidecar.Config) { c.ReconnectGrace = time.Hour }, func(t *testing.T, b *bubble) {
		m := b.mortal(t, "s", "i")
		id := b.topicID(t)
		m.assignAs(&sidecarpb.AssignedPartition{Epoch: 1, Topic: "in", TopicId: id[:]})
		slow := b.slow(3 * time.Second)
		m.units(from(0, 1, 2)...)
		synctest.Wait()
		m.cancel()
		synctest.Wait() // its death is not proven here: the sidecar must have heard of the broken stream
		next := b.process(t, "t")
		heard := next.listen()
		next.inherit(7, "g", "i")
		time.Sleep(time.Second)
		if heard(7) {
			t.Error("the heir was told to join while units are open")
		}
		slow.Store(0)
		time.Sleep(20 * time.Second)
		if at, _ := b.committed(t); !heard(7) || at != 3 {
			t.Errorf("answered %v, committed %d: want both, the grace is an hour", heard(7), at)
		}
	})
}

// Nobody waits for what is not there, nor for a process that lives, nor for another app's.
func TestHeirOfNothing(t *testing.T) {
	for name, c := range map[string]struct {
		group, instance string
		do              func(m *mortal)
	}{
		"another instance": {"g", "j", func(m *mortal) { m.cancel() }},
		"another group":    {"h", "i", func(m *mortal) { m.cancel() }},
		"it lives":         {"g", "i", func(*mortal) {}},
		"it said Goodbye":  {"g", "i", func(m *mortal) { m.goodbye() }},
	} {
		t.Run(name, func(t *testing.T) {
			inDeath(t, func(c *sidecar.Config) { c.ReconnectGrace = time.Hour }, func(t *testing.T, b *bubble) {
				m := b.mortal(t, "s", "i")
				c.do(m)
				synctest.Wait()
				next := b.process(t, "t")
				heard := next.listen()
				next.inherit(1, c.group, c.instance)
				time.Sleep(time.Second)
				if !heard(1) {
					t.Error("not answered")
				}
				if n := b.members(t); n != 1 {
					t.Errorf("%d members: another process was taken for dead", n)
				}
			})
		})
	}
}

// What waits is bounded, and given back.
func TestHeirsAreBounded(t *testing.T) {
	inDeath(t, func(c *sidecar.Config) { c.ReconnectGrace, c.WillTimeout = time.Hour, time.Minute }, func(t *testing.T, b *bubble) {
		next := b.process(t, "t")
		heard := next.listen()
		for i := range uint64(1000) {
			next.inherit(i, "g", "i")
			if i%50 == 0 {
				synctest.Wait()
			}
		}
		time.Sleep(time.Second)
		if !heard(999) {
			t.Fatal("what was answered still counts")
		}
		m := b.mortal(t, "s", "i")
		hold := b.slow(time.Hour)
		m.units(from(0)...)
		synctest.Wait()
		m.cancel()
		asker := b.process(t, "u")
		for i := range uint64(65) {
			asker.inherit(i, "g", "i")
		}
		asker.ends(codes.InvalidArgument, "unanswered")
		long := b.process(t, "v")
		long.inherit(1, strings.Repeat("g", 1<<20), "i")
		long.ends(codes.InvalidArgument, "inherit.group")
		hold.Store(0)
	})
}
