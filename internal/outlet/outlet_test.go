package outlet_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/ackmark/ackmark/internal/devbroker"
	"github.com/ackmark/ackmark/internal/outlet"
)

// bench is an outlet, a cluster that validates, and what became of each record.
type rig struct {
	*testing.T
	kafka *kfake.Cluster
	out   *outlet.Outlet
	rules atomic.Pointer[devbroker.Rules]

	mu    sync.Mutex
	fates map[string]error
	open  sync.WaitGroup
}

func newRig(t *testing.T, rules devbroker.Rules, configs map[string]string, opts ...kgo.Opt) *rig {
	t.Helper()
	return newRigOf(t, rules, configs, func(cfg *outlet.Config) { cfg.Options = append(cfg.Options, opts...) })
}

func newRigOf(t *testing.T, rules devbroker.Rules, configs map[string]string, change func(*outlet.Config)) *rig {
	t.Helper()
	kafka, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(kafka.Close)
	if err := kafka.CreateTopic("t", 2, configs); err != nil {
		t.Fatal(err)
	}
	r := &rig{T: t, kafka: kafka, fates: map[string]error{}}
	r.rules.Store(&rules)
	devbroker.Validate(kafka, func(string) devbroker.Rules { return *r.rules.Load() })
	cfg := outlet.Config{
		Options:     []kgo.Opt{kgo.SeedBrokers(kafka.ListenAddrs()...), kgo.MetadataMinAge(10 * time.Millisecond)},
		Partitioner: kgo.StickyKeyPartitioner(nil), MaxRecordBytes: 16 << 20, Log: slog.New(slog.DiscardHandler),
	}
	change(&cfg)
	r.out, err = outlet.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.out.Close)
	return r
}

// send hands a record over; its value is its name.
func (r *rig) send(rec kgo.Record, explicit bool) {
	to := r.out.Topic("t")
	to.Prepare(context.Background())
	rec.Topic = "t"
	name := string(rec.Value[:min(len(rec.Value), 20)])
	r.open.Add(1)
	x := &outlet.Rec{Record: rec, To: to, Explicit: explicit}
	x.Promise = func(_ *kgo.Record, err error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if _, twice := r.fates[name]; twice {
			r.Errorf("%s has two fates", name)
		}
		r.fates[name] = err
		r.open.Done()
	}
	r.out.Produce(x)
}

// log reads the topic: for each partition the names in their order.
func (r *rig) log() map[int32][]string {
	r.Helper()
	r.open.Wait()
	want := 0
	r.mu.Lock()
	for _, err := range r.fates {
		if err == nil {
			want++
		}
	}
	r.mu.Unlock()
	cl, err := kgo.NewClient(kgo.SeedBrokers(r.kafka.ListenAddrs()...), kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		r.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(r.Context(), 20*time.Second)
	defer cancel()
	got, n := map[int32][]string{}, 0
	for n < want && ctx.Err() == nil {
		cl.PollFetches(ctx).EachRecord(func(rec *kgo.Record) {
			got[rec.Partition] = append(got[rec.Partition], string(rec.Value[:min(len(rec.Value), 20)]))
			n++
		})
	}
	if n != want {
		r.Errorf("%d records in the topic, %d were acknowledged", n, want)
	}
	return got
}

// mustBe checks fates: those that are named are refused with that error, all others are in the
// topic, per partition in the order of their numbers.
func (r *rig) mustBe(refused map[string]error) {
	r.Helper()
	log := r.log()
	for name, err := range r.fates {
		if want := refused[name]; want == nil && err != nil || want != nil && !errors.Is(err, want) {
			r.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	for p, names := range log {
		last := map[string]int{}
		for _, name := range names {
			var stream string
			var n int
			if _, err := fmt.Sscanf(name, "%1s%d", &stream, &n); err != nil {
				r.Fatal(err)
			}
			if n <= last[stream] {
				r.Errorf("partition %d: %s%d after %s%d", p, stream, n, stream, last[stream])
			}
			last[stream] = n
		}
	}
}

// One record without a key in a compacted topic, among many of several goroutines, one partition
// and two: it alone is refused.
func TestTheGuiltyRecordAlone(t *testing.T) {
	for name, rules := range map[string]devbroker.Rules{
		"named": {Compacted: true}, "unnamed": {Compacted: true, Unnamed: true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, rules, nil, kgo.ProducerLinger(5*time.Millisecond))
			var streams sync.WaitGroup
			refused := map[string]error{}
			for s := range 3 {
				for n := 77; n <= 500; n += 100 {
					if s == 0 {
						refused[fmt.Sprintf("a%d", n)] = kerr.InvalidRecord
					}
				}
				streams.Go(func() {
					for n := 1; n <= 500; n++ {
						name := fmt.Sprintf("%c%d", 'a'+s, n)
						rec := kgo.Record{Key: []byte{byte(s)}, Value: []byte(name), Partition: int32(s % 2)}
						if refused[name] != nil {
							rec.Key = nil
						}
						r.send(rec, true)
					}
				})
			}
			streams.Wait()
			r.mustBe(refused)
		})
	}
}

func TestTimestampTooFarAhead(t *testing.T) {
	r := newRig(t, devbroker.Rules{After: time.Hour}, nil, kgo.ProducerLinger(5*time.Millisecond))
	for n := 1; n <= 200; n++ {
		rec := kgo.Record{Key: []byte("k"), Value: fmt.Appendf(nil, "a%d", n)}
		if n == 77 {
			rec.Timestamp = time.Now().Add(3 * time.Hour)
		}
		r.send(rec, false)
	}
	r.mustBe(map[string]error{"a77": kerr.InvalidTimestamp})
}

func noise(name string, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	copy(b, fmt.Sprintf("%-20s", name))
	return b
}

// Each fits, and together they are far more than a batch may have.
func TestSumAboveTheLimit(t *testing.T) {
	r := newRig(t, devbroker.Rules{}, map[string]string{"max.message.bytes": "16384"}, kgo.ProducerLinger(20*time.Millisecond))
	for n := 1; n <= 400; n++ {
		r.send(kgo.Record{Key: []byte("k"), Value: noise(fmt.Sprintf("a%d", n), 1000)}, false)
	}
	r.mustBe(nil)
}

// What the topic takes is decided by the compressed size, and a record that is too large has its
// place in the order.
func TestLargerThanTheLimit(t *testing.T) {
	r := newRig(t, devbroker.Rules{}, map[string]string{"max.message.bytes": "20000"}, kgo.ProducerBatchCompression(kgo.ZstdCompression()))
	refused := map[string]error{}
	for n := 1; n <= 200; n++ {
		name := fmt.Sprintf("a%d", n)
		value := []byte(name)
		switch n % 20 {
		case 7:
			value = append(fmt.Appendf(nil, "%-20s", name), make([]byte, 3<<20)...) // fits when compressed
		case 13:
			value = noise(name, 100_000) // does not
			refused[fmt.Sprintf("%-20s", name)] = kerr.MessageTooLarge
		}
		r.send(kgo.Record{Key: []byte("k"), Value: value}, false)
	}
	r.mustBe(refused)
}

// The owner's own bound of batches refuses no record by its size either: not the first one, of
// which the client knows nothing yet.
func TestLargerThanTheOwnersBatches(t *testing.T) {
	r := newRig(t, devbroker.Rules{}, nil, kgo.ProducerBatchMaxBytes(16384))
	for n := 1; n <= 3; n++ {
		r.send(kgo.Record{Key: []byte("k"), Value: noise(fmt.Sprintf("a%d", n), 100_000)}, false)
	}
	r.mustBe(nil)
}

// The versions that the owner gave are his: other clients may have them.
func TestTheOwnersVersionsStayAsTheyAre(t *testing.T) {
	theirs, before := kversion.Stable(), kversion.Stable()
	r := newRig(t, devbroker.Rules{}, nil, kgo.MaxVersions(theirs))
	r.send(kgo.Record{Key: []byte("k"), Value: []byte("a1")}, false)
	r.mustBe(nil)
	if !theirs.Equal(before) {
		t.Error("the owner's versions were changed")
	}
}

// A topic that stays away is waited for once, not by every record anew.
func TestTopicThatStaysAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := new(kfake.VirtualNetwork)
		kafka, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.ListenFn(net.Listen))
		if err != nil {
			t.Fatal(err)
		}
		defer kafka.Close()
		if err := kafka.CreateTopic("t", 1, nil); err != nil {
			t.Fatal(err)
		}
		out, err := outlet.New(outlet.Config{
			Options:     []kgo.Opt{kgo.SeedBrokers(kafka.ListenAddrs()...), kgo.Dialer(net.DialContext), kgo.DisableClientMetrics()},
			Partitioner: kgo.StickyKeyPartitioner(nil), MaxRecordBytes: 1 << 20, Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		send := func() (time.Duration, error) {
			fate, begun := make(chan error, 1), time.Now()
			to := out.Topic("t")
			to.Prepare(context.Background())
			out.Produce(&outlet.Rec{Record: kgo.Record{Topic: "t", Key: []byte("k")}, To: to, Promise: func(_ *kgo.Record, err error) { fate <- err }})
			select {
			case err := <-fate:
				return time.Since(begun), err
			case <-time.After(5 * time.Minute):
				t.Fatal("a record of a topic that is gone has no fate after 5 minutes")
				return 0, nil
			}
		}
		if _, err := send(); err != nil {
			t.Fatal(err)
		}
		if err := kafka.DeleteTopic("t"); err != nil {
			t.Fatal(err)
		}
		if took, err := send(); err == nil || took < 30*time.Second || took > 2*time.Minute {
			t.Errorf("the first one after it went: %v after %v", err, took)
		}
		if took, err := send(); err == nil || took > 30*time.Second {
			t.Errorf("the next one: %v after %v", err, took)
		}
	})
}

// Everything has a fate when the outlet is closed amid a repair.
func TestCloseAmidARepair(t *testing.T) {
	r := newRig(t, devbroker.Rules{Compacted: true, Unnamed: true}, nil)
	for n := 1; n <= 2000; n++ {
		rec := kgo.Record{Key: []byte("k"), Value: fmt.Appendf(nil, "a%d", n)}
		if n%10 == 0 {
			rec.Key, rec.Partition = nil, 0
		}
		r.send(rec, false)
	}
	r.out.Close()
	r.open.Wait()
	for deadline := time.Now().Add(10 * time.Second); r.out.Buffered() != 0; runtime.Gosched() { // the client counts down after the promise
		if time.Now().After(deadline) {
			t.Fatalf("%d are on their way after Close", r.out.Buffered())
		}
	}
}

// A topic that is deleted and created anew: what comes later goes to the new one, and nothing fails
// for it.
func TestTopicCreatedAnew(t *testing.T) {
	r := newRig(t, devbroker.Rules{}, nil)
	for n := 1; n <= 50; n++ {
		r.send(kgo.Record{Key: []byte("k"), Value: fmt.Appendf(nil, "a%d", n)}, false)
	}
	r.open.Wait()
	if err := r.kafka.DeleteTopic("t"); err != nil {
		t.Fatal(err)
	}
	for n := 51; n <= 100; n++ {
		r.send(kgo.Record{Key: []byte("k"), Value: fmt.Appendf(nil, "a%d", n)}, false)
	}
	time.AfterFunc(500*time.Millisecond, func() { _ = r.kafka.CreateTopic("t", 2, nil) })
	r.open.Wait()
	for n := 101; n <= 150; n++ {
		r.send(kgo.Record{Key: []byte("k"), Value: fmt.Appendf(nil, "a%d", n)}, false)
	}
	r.open.Wait()
	for name, err := range r.fates {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// placing counts what the usual client gives a partition.
type placing struct{ n atomic.Int64 }

func (p *placing) OnProduceRecordPartitioned(*kgo.Record, int32) { p.n.Add(1) }

// Who meters partitions hears of each record once: by the usual client's hook, or by Placed.
func TestEveryRecordIsMeteredOnce(t *testing.T) {
	var usual placing
	var past atomic.Int64
	r := newRigOf(t, devbroker.Rules{Compacted: true}, map[string]string{"max.message.bytes": "20000"}, func(cfg *outlet.Config) {
		cfg.Usual = []kgo.Opt{kgo.WithHooks(&usual)}
		cfg.Placed = func(*outlet.Rec, int32) { past.Add(1) }
		cfg.Options = append(cfg.Options, kgo.ProducerBatchCompression(kgo.ZstdCompression()))
	})
	refused := map[string]error{}
	const records = 300
	for n := 1; n <= records; n++ {
		name := fmt.Sprintf("a%d", n)
		rec := kgo.Record{Key: []byte("k"), Value: []byte(name)}
		switch n % 50 {
		case 7:
			rec.Value = append(fmt.Appendf(nil, "%-20s", name), make([]byte, 1<<20)...)
		case 30:
			rec.Key, refused[name] = nil, kerr.InvalidRecord
		}
		r.send(rec, true)
	}
	r.mustBe(refused)
	if usual.n.Load()+past.Load() != records || past.Load() < records/50 {
		t.Errorf("%d by the hook and %d past it, of %d", usual.n.Load(), past.Load(), records)
	}
}

// Produce does not wait for a topic that Kafka says nothing of, not even with a large record that
// has to come behind those that wait for it.
func TestALargeRecordDoesNotBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out, err := outlet.New(outlet.Config{
			Options: []kgo.Opt{kgo.SeedBrokers("nobody:9092"), kgo.DisableClientMetrics(), kgo.Dialer(func(ctx context.Context, _, _ string) (net.Conn, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			})},
			Partitioner: kgo.StickyKeyPartitioner(nil), MaxRecordBytes: 16 << 20, Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		var failed atomic.Int32
		const records = 5
		for i := range records {
			value := []byte("small")
			if i%2 == 1 {
				value = make([]byte, 2<<20)
			}
			out.Produce(&outlet.Rec{Record: kgo.Record{Topic: "t", Key: []byte("k"), Value: value}, To: out.Topic("t"), Promise: func(_ *kgo.Record, err error) {
				if errors.Is(err, kgo.ErrClientClosed) {
					failed.Add(1)
				}
			}})
		}
		if took := time.Since(begun); took != 0 {
			t.Errorf("it took %v", took)
		}
		if n := out.Buffered(); n != records {
			t.Errorf("%d of %d are on their way", n, records)
		}
		out.Close()
		synctest.Wait()
		if n := failed.Load(); n != records || out.Buffered() != 0 {
			t.Errorf("%d of %d failed when it was closed, %d are on their way", n, records, out.Buffered())
		}
	})
}
