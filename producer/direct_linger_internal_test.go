package producer

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

type writtenBatches struct{ records atomic.Int64 }

func (w *writtenBatches) OnProduceBatchWritten(_ kgo.BrokerMetadata, _ string, _ int32, m kgo.ProduceBatchMetrics) {
	w.records.Add(int64(m.NumRecords))
}

type nobody struct{}

func (nobody) Acked(int, int)     {}
func (nobody) Failed(int, *Error) {}

// Thousands of records do not wait for a linger that is ours; a user's own is what it is.
func TestManyRecordsDoNotLinger(t *testing.T) {
	for _, c := range []struct {
		name    string
		options []kgo.Opt
		ends    bool
	}{
		{"ours", nil, true},
		{"the user's", []kgo.Opt{kgo.ProducerLinger(30 * time.Second)}, false},
		{"none", []kgo.Opt{kgo.ProducerLinger(0)}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			kafka, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "out"))
			if err != nil {
				t.Fatal(err)
			}
			defer kafka.Close()
			w := &writtenBatches{}
			d := newDirect(DirectConfig{Brokers: kafka.ListenAddrs(), Options: append(c.options, kgo.WithHooks(w)), CloseTimeout: time.Nanosecond})
			defer d.Close()
			out, err := d.start()
			if err != nil {
				t.Fatal(err)
			}
			if d.lingers.ends != c.ends {
				t.Fatalf("its linger is ours: %t", d.lingers.ends)
			}
			for range lingerRecords / 512 {
				units := make([]Unit, 512)
				for i := range units {
					units[i].Outputs = []Record{{Topic: "out", Value: []byte("v")}}
				}
				if err := d.Deliver(context.Background(), units, nobody{}); err != nil {
					t.Fatal(err)
				}
			}
			if c.ends && d.lingers.records.Load() != 0 {
				t.Errorf("%d records linger behind %d", d.lingers.records.Load(), lingerRecords)
			}
			d.lingers.produced(out, lingerRecords-1)
			if n := d.lingers.records.Load(); c.ends && n != lingerRecords-1 || !c.ends && n != 0 {
				t.Errorf("%d records are counted behind the last end", n)
			}
		})
	}
}

// What lingers is really sent: here the linger is so long that nothing else would.
func TestWhatLingersIsSent(t *testing.T) {
	kafka, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer kafka.Close()
	w := &writtenBatches{}
	d := newDirect(DirectConfig{Brokers: kafka.ListenAddrs(), Options: []kgo.Opt{kgo.ProducerLinger(30 * time.Second), kgo.WithHooks(w)}, CloseTimeout: time.Nanosecond})
	defer d.Close()
	if _, err := d.start(); err != nil {
		t.Fatal(err)
	}
	first := []Unit{{Outputs: []Record{{Topic: "out", Value: []byte("v")}}}}
	if err := errors.Join(d.Deliver(context.Background(), first, nobody{}), d.Flush(context.Background())); err != nil {
		t.Fatal(err) // before the topic is known nothing can be sent
	}
	d.lingers.ends = true // as if it were ours
	units := make([]Unit, lingerRecords)
	for i := range units {
		units[i].Outputs = []Record{{Topic: "out", Value: []byte("v")}}
	}
	if err := d.Deliver(context.Background(), units, nobody{}); err != nil {
		t.Fatal(err)
	}
	for begun := time.Now(); w.records.Load() <= lingerRecords; time.Sleep(time.Millisecond) {
		if time.Since(begun) > 20*time.Second {
			t.Fatalf("%d of %d records were written", w.records.Load()-1, lingerRecords)
		}
	}
}
