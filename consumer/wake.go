package consumer

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/ackmark/ackmark/internal/lifecycle"
)

// guard sees to it that what is held and not paused is fetched, or named. Its fields are
// maintain's, except looking.
type guard struct {
	log     *slog.Logger
	clock   clock
	life    *lifecycle.Life
	brokers *brokers
	parts   *held
	survey  *survey

	woken   int64
	looking atomic.Bool
}

// wakeEvery is how often the client's fetch loops are woken.
//
// One that begins just when the client ends a fetch session and begins the next, as it does with
// rebalances, SetOffsets and leaders that move, can miss both: it finds its own session ended,
// stops, and forgets that the next one has woken it. Nothing is fetched from that broker then,
// without an error, until something wakes the loop (franz-go v1.22.3: loopFetch in source.go, where
// it calls hardFinish after incWorker). A loop that runs does not notice.
const wakeEvery = time.Second

// wake is called often. It wakes the client, and looks after what nothing comes of, once a second.
func (gd *guard) wake(ctx context.Context, now int64) {
	if now-gd.woken < int64(wakeEvery) {
		return
	}
	gd.woken = now
	gd.brokers.client.Load().ResumeFetchTopics() // of no topic: all that it does is to wake
	gd.look(ctx, now)
}
