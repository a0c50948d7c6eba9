package consumer

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// same inflates nothing.
type same struct{}

func (same) Decompress(src []byte, _ kgo.CompressionCodecType) ([]byte, error) { return src, nil }

func TestInflation(t *testing.T) {
	now := time.Unix(0, 0)
	i := newInflation(100, same{})
	i.now = func() time.Time { return now }
	broker := func(id int32) kgo.BrokerMetadata { return kgo.BrokerMetadata{NodeID: id} }
	read := func(id int32, n int) {
		i.OnFetchBatchRead(broker(id), "t", 0, kgo.FetchBatchMetrics{UncompressedBytes: n})
	}
	full := func(want bool) {
		t.Helper()
		if _, err := i.Decompress(nil, kgo.CodecZstd); errors.Is(err, errInflated) != want {
			t.Errorf("%d of %d held: %v, full %t", i.total, i.limit, err, want)
		}
	}
	full(false)
	read(1, 250) // larger than all, alone
	full(true)
	if _, err := i.Decompress(nil, kgo.CodecNone); err != nil {
		t.Errorf("what is not compressed is not held back: %v", err)
	}
	i.OnBrokerRead(broker(2), int16(kmsg.Fetch), 0, 0, 0, nil) // another broker's
	i.OnBrokerRead(broker(1), int16(kmsg.Metadata), 0, 0, 0, nil)
	full(true)
	i.OnBrokerRead(broker(1), int16(kmsg.Fetch), 0, 0, 0, nil)
	full(false)
	read(1, 50)
	read(2, 49)
	full(false)
	read(2, 1)
	full(true)
	now = now.Add(settled)
	i.emptied() // it may still be read
	full(true)
	read(2, 1)
	now = now.Add(1)
	i.emptied() // broker 1 is gone
	full(false)
	if i.total != 51 {
		t.Errorf("%d held, want 51", i.total)
	}
}

// Records that compress a thousandfold: a response of some KiB would be hundreds of MiB. Not more
// than half of the budget and a batch of each broker is decompressed beside the budget, and
// everything is read.
func TestInflatedFetchesAreBounded(t *testing.T) {
	const partitions, each, large = 6, 60, 1 << 20
	inLab(t, partitions, func(t *testing.T, l *lab) {
		cl := l.newClient(kgo.ProducerBatchMaxBytes(4<<20), kgo.ProducerBatchCompression(kgo.GzipCompression()), kgo.ProducerLinger(10*time.Millisecond), kgo.RecordPartitioner(kgo.ManualPartitioner()))
		value := make([]byte, large-1000)
		var recs []*kgo.Record
		for p := range int32(partitions) {
			for range each {
				recs = append(recs, &kgo.Record{Topic: topic, Partition: p, Value: value})
			}
		}
		if err := cl.ProduceSync(context.Background(), recs...).FirstErr(); err != nil {
			t.Fatal(err)
		}
		cl.Close()
		cfg := l.config()
		cfg.MaxBytes = 16 * large
		h := &holder{}
		var mu sync.Mutex
		var most int64
		var m *member
		ready := make(chan struct{})
		m = l.start(cfg, func(b *Batch) {
			<-ready
			m.reader.inflation.mu.Lock()
			total := m.reader.inflation.total
			m.reader.inflation.mu.Unlock()
			mu.Lock()
			most = max(most, total)
			mu.Unlock()
			h.deliver(b)
		})
		close(ready)
		held := func() (n int64) {
			for _, p := range m.State().Partitions {
				n += p.PendingBytes
			}
			return n
		}
		l.until("the budget to be full", func() bool { return held() >= cfg.MaxBytes/2 })
		time.Sleep(10 * time.Second)
		if held := held(); held > cfg.MaxBytes+cfg.MaxBytes/8+partitions*large {
			t.Errorf("%d MiB held, the budget is 16", held/large)
		}
		h.letGo()
		for p := range int32(partitions) {
			l.untilCommitted(p, each)
		}
		if bound := cfg.MaxBytes/2 + 3*5*large; most == 0 || most > bound {
			t.Errorf("%d MiB inflated beside the budget, the bound is %d", most/large, bound/large)
		}
		wantNil(t, m.stop())
	})
}
