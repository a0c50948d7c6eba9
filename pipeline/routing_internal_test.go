package pipeline

import (
	"log/slog"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/consumer"
)

// twoLanes are those of a pipeline that does not run; inputs of so many keys wait in the first.
func twoLanes(keys int) (p *Pipeline, from, to *lane) {
	p = &Pipeline{cfg: Config{Producer: &instant{}, Concurrency: 2, Handler: benchHandler(), Logger: slog.New(slog.DiscardHandler)}.withDefaults()}
	p.build(&stored{})
	from, to = p.lanes[0], p.lanes[1]
	c := newChunk(new(consumer.Assignment))
	for i := range keys {
		key := strconv.AppendInt(nil, int64(i), 10)
		slot, _ := p.dispatcher.routing.of(key)
		c.msgs, c.slots = append(c.msgs, &consumer.Message{Record: &kgo.Record{Key: key}}), append(c.slots, slot)
	}
	from.push(c)
	return p, from, to
}

// A lane that was fast and makes no call any more may only have lost its processor: it is behind
// after a few looks of the pacer. One that never was fast is at the second.
func TestALaneThatWasFastIsNotBehindAtOnce(t *testing.T) {
	p, l, _ := twoLanes(9)
	p.pacer.seen = make([]paceMark, len(p.lanes))
	looks := func(calls uint64) (n int) {
		for ; n < 20; n++ {
			l.calls += calls
			if p.pacer.look(); l.behind.Load() {
				return n + 1
			}
		}
		return n
	}
	if n := looks(0); n != 2 {
		t.Errorf("a slow one is behind after %d looks", n)
	}
	if n := looks(10_000); n != 20 {
		t.Errorf("a fast one is behind after %d looks", n)
	}
	if n := looks(0); n < 4 || n > 8 {
		t.Errorf("one that was fast is behind after %d looks", n)
	}
	looks(10_000)
	if n := looks(behindFrom + 1); n != 20 {
		t.Errorf("one that keeps up, just, is behind after %d looks", n)
	}
	if n := looks(behindFrom - 1); n == 20 {
		t.Error("one that does not keep up, just, is not behind")
	}
}

// After a look through what waits in a lane it is left alone for twenty times as long.
func TestALaneRestsAfterALookThroughIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, from, to := twoLanes(9)
		r := p.dispatcher.routing
		r.anyBehind.Store(true)
		from.behind.Store(true)
		from.rests = time.Now().Add(time.Second)
		if r.take(to) {
			t.Fatal("keys are taken from a lane that rests")
		}
		time.Sleep(time.Second)
		if !r.take(to) || to.backlog.queued == 0 || from.backlog.queued+to.backlog.queued != 9 || r.moved != 1 {
			t.Errorf("%d and %d wait", from.backlog.queued, to.backlog.queued)
		}
	})
}
