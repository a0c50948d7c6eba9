package consumer

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// errInflated is what the client hears instead of a batch while it holds enough. What it
// decompressed of the partition before stays; what this batch has is fetched again when there is
// room.
var errInflated = errors.New("consumer: the client's own buffer is full: the batch is fetched again")

// inflation bounds what the client holds decompressed and has not handed out (S9). A fetch is
// bounded by its compressed size alone, and a response of 2 MiB can be 2 GiB of records.
//
// The client has one response of each broker at a time: it asks for the next when all of the last
// one is handed out. So what a broker's batches inflated to since its last response came is an
// upper bound of what is held of it.
type inflation struct {
	limit int64
	next  kgo.Decompressor
	now   func() time.Time

	mu      sync.Mutex
	total   int64
	brokers map[int32]*inflated
}

// inflated is a broker's last response.
type inflated struct {
	bytes int64
	last  time.Time // when its last batch was read
}

const (
	// settled is how long after its last batch a response is surely read to its end.
	settled = 200 * time.Millisecond
	// deflation is how long a poll waits after a batch was refused. The client fetches it again at
	// once, so nothing else keeps it from spinning.
	deflation = 20 * time.Millisecond
)

func newInflation(limit int64, next kgo.Decompressor) *inflation {
	return &inflation{limit: limit, next: next, now: time.Now, brokers: map[int32]*inflated{}}
}

// Decompress implements kgo.Decompressor. Nothing held: any batch passes.
func (i *inflation) Decompress(src []byte, codec kgo.CompressionCodecType) ([]byte, error) {
	i.mu.Lock()
	full := i.total >= i.limit
	i.mu.Unlock()
	if full && codec != kgo.CodecNone {
		return nil, errInflated
	}
	return i.next.Decompress(src, codec)
}

// OnFetchBatchRead implements kgo.HookFetchBatchRead.
func (i *inflation) OnFetchBatchRead(meta kgo.BrokerMetadata, _ string, _ int32, m kgo.FetchBatchMetrics) {
	i.mu.Lock()
	defer i.mu.Unlock()
	b := i.brokers[meta.NodeID]
	if b == nil {
		b = new(inflated)
		i.brokers[meta.NodeID] = b
	}
	b.bytes += int64(m.UncompressedBytes)
	b.last = i.now()
	i.total += int64(m.UncompressedBytes)
}

// OnBrokerRead implements kgo.HookBrokerRead: a new response, so all of the last one is handed out.
func (i *inflation) OnBrokerRead(meta kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, _ error) {
	if key != int16(kmsg.Fetch) {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if b := i.brokers[meta.NodeID]; b != nil {
		i.total -= b.bytes
		delete(i.brokers, meta.NodeID)
	}
}

// emptied is told that the client holds nothing that it could hand out: what brokers sent that no
// new response comes from, because their partitions are paused or they are gone, is handed out,
// too.
func (i *inflation) emptied() {
	i.mu.Lock()
	defer i.mu.Unlock()
	now := i.now()
	for id, b := range i.brokers {
		if now.Sub(b.last) > settled {
			i.total -= b.bytes
			delete(i.brokers, id)
		}
	}
}

// awaitDeflation waits for a moment after a batch was refused.
func (rd *reader) awaitDeflation(ctx context.Context, cl *kgo.Client) {
	if !rd.refused {
		return
	}
	rd.refused = false
	if cl.BufferedFetchRecords() == 0 {
		rd.inflation.emptied()
	}
	t := time.NewTimer(deflation)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
