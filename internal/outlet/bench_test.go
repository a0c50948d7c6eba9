package outlet

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// way is one of two ways to hand records over, to compare what the outlet adds to the client.
type way struct {
	produce func()
	open    sync.WaitGroup
}

const atATime = 5000 // records

// ways are the bare client and the outlet, to one broker each, with memory for atATime records that
// is used again and again.
func ways(t testing.TB) map[string]*way {
	options := func() []kgo.Opt {
		kafka, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(4, "t"), kfake.BrokerConfigs(map[string]string{"log.retention.bytes": "1000000"}))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(kafka.Close)
		return []kgo.Opt{kgo.SeedBrokers(kafka.ListenAddrs()...), kgo.DisableClientMetrics(), kgo.ProducerBatchCompression(kgo.NoCompression())}
	}
	usual := []kgo.Opt{kgo.ProducerLinger(2 * time.Millisecond)}
	keys, value := []string{"a", "b", "c", "d", "e", "f"}, make([]byte, 100)

	bare := &way{}
	cl, err := kgo.NewClient(append(append(options(), usual...), kgo.MaxBufferedRecords(1<<30), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	plain := make([]kgo.Record, atATime)
	for i := range plain {
		plain[i] = kgo.Record{Topic: "t", Key: []byte(keys[i%len(keys)]), Value: value}
	}
	ctx, done := context.Background(), func(_ *kgo.Record, err error) {
		if err != nil {
			t.Error(err)
		}
		bare.open.Done()
	}
	bare.produce = func() {
		bare.open.Add(atATime)
		for i := range plain {
			plain[i].Timestamp = time.Time{}
			cl.Produce(ctx, &plain[i], done)
		}
		bare.open.Wait()
	}

	out, err := New(Config{Options: options(), Usual: usual, Partitioner: kgo.StickyKeyPartitioner(nil), MaxRecordBytes: 1 << 20, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(out.Close)
	through := &way{}
	to := out.Topic("t")
	to.Prepare(context.Background())
	recs := make([]Rec, atATime)
	for i := range recs {
		recs[i].Record, recs[i].To = kgo.Record{Topic: "t", Key: []byte(keys[i%len(keys)]), Value: value}, to
		recs[i].Promise = func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
			through.open.Done()
		}
	}
	through.produce = func() {
		through.open.Add(atATime)
		for i := range recs {
			recs[i].Timestamp = time.Time{}
			out.Produce(&recs[i])
		}
		through.open.Wait()
	}
	return map[string]*way{"client": bare, "outlet": through}
}

// BenchmarkProduce is a record's way through the bare client and through the outlet, broker
// included.
func BenchmarkProduce(b *testing.B) {
	both := ways(b)
	for _, name := range []string{"client", "outlet"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			both[name].produce()
			b.ResetTimer()
			for n := 0; n < b.N; n += atATime {
				both[name].produce()
			}
		})
	}
}

// Records that are not refused cost no memory beside the client's own.
func TestNothingAllocatedPerRecord(t *testing.T) {
	both := ways(t)
	count := func(w *way) float64 { return testing.AllocsPerRun(20, w.produce) / atATime }
	bare, through := count(both["client"]), count(both["outlet"])
	t.Logf("allocations per record: client %.4f, outlet %.4f", bare, through)
	if through > bare+0.05 {
		t.Errorf("%.3f allocations per record, the bare client %.3f", through, bare)
	}
}
