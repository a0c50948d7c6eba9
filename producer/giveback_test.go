package producer_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/grpc/test/bufconn"

	"github.com/ackmark/ackmark/internal/proof/verify/leftover"
	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/producer/producertest"
	"github.com/ackmark/ackmark/sidecar"
	"github.com/ackmark/ackmark/sidecar/sidecartest"
)

// failing are units that fail, each for another reason, and one that does not.
func failing() []producer.Unit {
	of := func(r producer.Record) producer.Unit { return producer.Unit{Outputs: []producer.Record{r}} }
	return []producer.Unit{
		of(producer.Record{Topic: producertest.TopicA, Value: []byte("fine")}),
		of(producer.Record{Topic: badTopic, Value: []byte("v")}),
		of(producer.Record{Topic: producertest.TopicA, Partition: new(int32(99)), Value: []byte("v")}),
		of(producer.Record{Topic: producertest.TopicA, Headers: make([]producer.Header, producer.MaxUnitHeaders+1)}),
		of(producer.Record{Topic: producertest.TopicA, Timestamp: time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC)}),
		{Source: producer.Source{Epoch: 1}, Outputs: []producer.Record{{Topic: producertest.TopicA}}}, // released
		{},
		of(producer.Record{Topic: strings.Repeat("x", 250)}),
	}
}

// Whatever becomes of a unit, it gives back what it took: a producer with room for one call takes
// the next one when the one before is reported.
func TestEveryUnitGivesItsRoomBack(t *testing.T) {
	b := newBroker(t)
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	p := producer.Direct(producer.DirectConfig{Brokers: b.ListenAddrs(), Options: quick, OnFull: producer.Refuse,
		MaxBufferedRecords: 2, MaxBufferedBytes: 64, Logger: slog.New(slog.DiscardHandler)})
	defer p.Close()
	if err := p.Assign(t.Context(), producer.Membership{}, []producer.Assignment{{Epoch: 1, Topic: "in"}}); err != nil {
		t.Fatal(err)
	}
	if err := p.Release(t.Context(), []uint64{1}); err != nil {
		t.Fatal(err)
	}
	list := failing()
	for round := range 60 {
		u := list[round%len(list)]
		if round >= len(list) {
			u = list[r.IntN(len(list))]
		}
		rec := deliver(t, p, u)
		if err := rec.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := p.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		// One that would not be taken if anything at all were held: two records beside none.
		two := producer.Unit{Outputs: []producer.Record{{Topic: producertest.TopicA}, {Topic: producertest.TopicA}}}
		rec = producertest.NewRecorder(1)
		if err := p.Deliver(t.Context(), []producer.Unit{two}, rec); errors.Is(err, producer.ErrFull) {
			t.Fatalf("seed %d, round %d: %v", seed, round, err)
		}
		if err := p.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// churn does at random what a program may do with a producer, while Kafka stands still, streams
// break and sidecars come and go: it fills it, gives up, lets assignments go, and closes. fault
// makes one of the ways to Kafka fail, or heals it.
func churn(t *testing.T, r *rand.Rand, p producer.Producer, fault func(r *rand.Rand), heal func()) {
	t.Helper()
	var calls sync.WaitGroup
	var told sync.Mutex
	var recorders []*producertest.Recorder
	emits := make(map[int]int) // how often each was told
	epoch, live := uint64(0), []uint64(nil)
	patient := func() (context.Context, context.CancelFunc) {
		return context.WithTimeout(context.Background(), time.Duration(r.IntN(40))*time.Duration(r.IntN(40))*time.Millisecond)
	}
	index := uint64(0)
	unit := func() producer.Unit {
		u := failing()[r.IntN(8)]
		if r.IntN(3) == 0 && epoch > 0 {
			u.Source = producer.Source{Epoch: 1 + r.Uint64N(epoch+1), Index: index, Offset: int64(index)}
			index++
		}
		if r.IntN(4) == 0 {
			u.Outputs = append(u.Outputs, producer.Record{Topic: producertest.TopicA, Value: make([]byte, r.IntN(60))}, producer.Record{Topic: producertest.TopicB})
		}
		return u
	}
	for step := range 30 + r.IntN(90) {
		switch r.IntN(12) {
		case 0, 1, 2, 3:
			units := make([]producer.Unit, 1+r.IntN(4))
			for i := range units {
				units[i] = unit()
			}
			ctx, cancel := patient()
			calls.Go(func() {
				defer cancel()
				rec := producertest.NewRecorder(len(units))
				if p.Deliver(ctx, units, rec) == nil {
					told.Lock()
					defer told.Unlock()
					recorders = append(recorders, rec)
				}
			})
		case 4:
			ctx, cancel := patient()
			calls.Go(func() {
				defer cancel()
				_, _ = p.Emit(ctx, producer.Record{Topic: producertest.TopicA, Value: []byte("emitted")})
			})
		case 5:
			topic := []string{producertest.TopicB, badTopic}[r.IntN(2)]
			told.Lock()
			emits[step] = 0
			told.Unlock()
			calls.Go(func() {
				p.EmitAsync(producer.Record{Topic: topic}, func(producer.Ack, error) {
					told.Lock()
					defer told.Unlock()
					emits[step]++
				})
			})
		case 6:
			epoch++
			live = append(live, epoch)
			_ = p.Assign(t.Context(), producer.Membership{Group: "g", MemberID: "m"}, []producer.Assignment{{Epoch: epoch, Topic: "in", Partition: int32(epoch)}})
		case 7:
			if len(live) > 0 {
				n := 1 + r.IntN(len(live))
				gone := live[:n:n]
				live = live[n:]
				ctx, cancel := patient()
				calls.Go(func() {
					defer cancel()
					_ = p.Release(ctx, gone)
				})
			}
		case 8:
			ctx, cancel := patient()
			calls.Go(func() {
				defer cancel()
				_ = p.Flush(ctx)
			})
		case 9, 10:
			fault(r)
		case 11:
			time.Sleep(time.Duration(r.IntN(60)) * time.Duration(r.IntN(60)) * time.Millisecond)
		}
		if r.IntN(3) == 0 {
			synctest.Wait()
		}
	}
	closes := r.IntN(3) == 0
	if closes { // in the middle of it all
		_ = p.Close()
	} else {
		heal()
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		calls.Wait()
	}()
	select {
	case <-over:
	case <-time.After(time.Minute):
		t.Errorf("calls hang: %s", producer.LeftOver(p))
		_ = p.Close() // ends them
		<-over
		return
	}
	if !closes {
		_ = p.Release(t.Context(), live)
	}
	leftover.Expect(t, fmt.Sprintf("at the end, closed %v", closes), func() string { return producer.LeftOver(p) })
	for _, rec := range recorders {
		if err := rec.Wait(t.Context()); err != nil {
			t.Errorf("a unit was not reported: %v", err)
		}
		if err := rec.Wrong(); err != nil {
			t.Error(err)
		}
	}
	told.Lock()
	defer told.Unlock()
	for step, n := range emits {
		if n != 1 {
			t.Errorf("the record that was emitted in step %d was reported %d times", step, n)
		}
	}
}

// seeded plays churn for many seeds, each in a bubble with a broker.
func seeded(t *testing.T, play func(t *testing.T, r *rand.Rand, b *broker, net *kfake.VirtualNetwork)) {
	n := 120
	if testing.Short() {
		n = 40
	}
	for _, seed := range leftover.Seeds(n) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := new(kfake.VirtualNetwork)
				c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(producertest.Partitions, producertest.TopicA, producertest.TopicB), kfake.ListenFn(net.Listen))
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				play(t, rand.New(rand.NewPCG(seed, 7)), &broker{Cluster: c}, net)
			})
		})
	}
}

// stalls makes Kafka stand still, and go on.
func (b *broker) stalls(t *testing.T, on bool) {
	if on == (b.stall == nil) {
		b.Stall(t, on)
		if !on {
			b.stall = nil
		}
	}
}

// Whatever is done with the direct producer, it holds nothing afterwards.
func TestDirectGivesEverythingBack(t *testing.T) {
	seeded(t, func(t *testing.T, r *rand.Rand, b *broker, net *kfake.VirtualNetwork) {
		p := producer.Direct(producer.DirectConfig{Brokers: b.ListenAddrs(), Options: append(slices.Clone(quick), kgo.Dialer(net.DialContext)),
			OnFull: producer.OnFull(r.IntN(2)), MaxBufferedRecords: 8, MaxBufferedBytes: 600, CloseTimeout: time.Second, Logger: slog.New(slog.DiscardHandler)})
		defer p.Close()
		churn(t, r, p, func(r *rand.Rand) { b.stalls(t, r.IntN(2) == 0) }, func() { b.stalls(t, false) })
	})
}

// The same for the client of a sidecar, whose streams break and which is restarted, with a fallback
// to Kafka in every second run.
func TestClientGivesEverythingBack(t *testing.T) {
	seeded(t, func(t *testing.T, r *rand.Rand, b *broker, kafka *kfake.VirtualNetwork) {
		options := append(slices.Clone(quick), kgo.Dialer(kafka.DialContext))
		var (
			mu    sync.Mutex
			conns []net.Conn
			lis   *bufconn.Listener
			sc    *sidecartest.Sidecar
		)
		start := func() {
			mu.Lock()
			lis = bufconn.Listen(1 << 20)
			mu.Unlock()
			sc = sidecartest.Start(t, b.ListenAddrs(), func(c *sidecar.Config) {
				c.Listener, c.Options = lis, []kgo.Opt{kgo.Dialer(kafka.DialContext), kgo.MetadataMinAge(10 * time.Millisecond)}
				c.DrainTimeout, c.WillTimeout = time.Second, 5*time.Second
				c.MaxBytes, c.MaxRecords, c.MaxSessions, c.PartitionRecords = 1<<20, 4096, 4, 50
			})
		}
		stop := func() {
			mu.Lock()
			lis = nil
			mu.Unlock()
			if sc != nil {
				_ = sc.Stop()
				sc = nil
			}
		}
		cut := func() {
			mu.Lock()
			defer mu.Unlock()
			for _, c := range conns {
				_ = c.Close()
			}
			conns = nil
		}
		start()
		cfg := producer.DialConfig{Target: "sidecar", App: "app", OnFull: producer.OnFull(r.IntN(2)), MaxBufferedRecords: 8, MaxBufferedBytes: 600,
			CloseTimeout: time.Second, Logger: slog.New(slog.DiscardHandler), Dialer: func(ctx context.Context) (net.Conn, error) {
				mu.Lock()
				to := lis
				mu.Unlock()
				if to == nil {
					return nil, &net.OpError{Op: "dial", Net: "unix", Err: syscall.ECONNREFUSED}
				}
				c, err := to.DialContext(ctx)
				if err == nil {
					mu.Lock()
					defer mu.Unlock()
					conns = append(conns, c)
				}
				return c, err
			}}
		if r.IntN(2) == 0 {
			cfg.Fallback = producer.FallbackConfig{Mode: producer.OnUnavailable, After: time.Second,
				Direct: producer.DirectConfig{Brokers: b.ListenAddrs(), Options: options, CloseTimeout: time.Second, Logger: cfg.Logger}}
		}
		begun := time.Now()
		p := cfg.WithBootClock(func() uint64 { return uint64(time.Hour + time.Since(begun)) }).New()
		defer stop()
		defer p.Close()
		churn(t, r, p, func(r *rand.Rand) {
			switch r.IntN(5) {
			case 0, 1:
				b.stalls(t, r.IntN(2) == 0)
			case 2, 3:
				cut()
			case 4:
				stop()
				if r.IntN(2) == 0 {
					start()
				}
			}
		}, func() {
			b.stalls(t, false)
			if sc == nil {
				start()
			}
		})
		if sc == nil {
			return
		}
		_ = p.Close()
		b.stalls(t, false)
		leftover.Expect(t, "by the sidecar", func() string {
			var left leftover.List
			st, err := sc.Status(t.Context())
			if err != nil {
				return err.Error()
			}
			left.Check("sessions", int64(len(st.GetSessions())))
			for _, q := range st.GetPartitions() {
				left.Check("records of a queue", int64(q.GetRecords()))
			}
			return left.String()
		})
	})
}
