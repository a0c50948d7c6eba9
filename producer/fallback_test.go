package producer_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/producer/producertest"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// The client that goes to Kafka itself is a producer like the others.
func TestFallbackConformance(t *testing.T) {
	producertest.Run(t, func(t *testing.T) producertest.Harness {
		b := newBroker(t)
		return producertest.Harness{
			BadTopic: badTopic, BadCode: "UNKNOWN_TOPIC_OR_PARTITION", NoOffsets: true, Stall: b.Stall, Records: b.Records, Background: brokerBackground,
			New: func(t *testing.T, o producertest.Options) producer.Producer {
				return producer.DialConfig{Target: "unix:///no/such/sidecar.sock", App: "test", MaxBufferedRecords: o.MaxRecords, OnFull: o.OnFull,
					CloseTimeout: o.CloseTimeout, Logger: slog.New(slog.DiscardHandler),
					Fallback: producer.FallbackConfig{Mode: producer.Forced, Direct: producer.DirectConfig{Brokers: b.ListenAddrs(), Options: quick}}}.New()
			},
		}
	})
}

// twoWays is a bubble with a scripted sidecar and a broker that both ways end in.
type twoWays struct {
	*script
	kafka *kfake.Cluster
	net   *kfake.VirtualNetwork
	gate  gate
	cfg   producer.DialConfig
}

func bootClock() uint64 { return uint64(time.Now().UnixNano()) }

func inTwoWays(t *testing.T, fallback producer.FallbackConfig, run func(t *testing.T, x *twoWays, p producer.Producer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		x := &twoWays{script: newScript(t), net: new(kfake.VirtualNetwork)}
		var err error
		x.kafka, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(9092), kfake.ListenFn(x.net.Listen), kfake.SeedTopics(3, "t"))
		if err != nil {
			t.Fatal(err)
		}
		defer x.kafka.Close()
		sink := x.client(t)
		defer sink.Close()
		x.sink = func(r producer.Record) {
			// The sidecar's partitioner is the same; its queue is left out: what it has begun is
			// written.
			if err := sink.ProduceSync(context.Background(), &kgo.Record{Topic: r.Topic, Key: r.Key, Value: r.Value}).FirstErr(); err != nil {
				t.Errorf("the script's produce: %v", err)
			}
		}
		x.outlive()
		x.units = x.unlessExpired
		x.start()
		defer x.stop()
		x.cfg = x.config().WithBootClock(bootClock)
		x.cfg.Dialer = func(ctx context.Context) (net.Conn, error) { return x.gate.dial(ctx, x.dial) }
		x.cfg.Logger = slog.New(slog.DiscardHandler)
		x.cfg.Fallback = fallback
		x.cfg.Fallback.Direct = producer.DirectConfig{Brokers: x.kafka.ListenAddrs(), Options: append(quick, kgo.Dialer(x.net.DialContext))}
		p := x.cfg.New()
		defer p.Close()
		run(t, x, p)
	})
}

func (x *twoWays) client(t *testing.T, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(x.kafka.ListenAddrs()...), kgo.Dialer(x.net.DialContext), kgo.ProducerLinger(0))...)
	if err != nil {
		t.Fatal(err)
	}
	return cl
}

// unlessExpired is a sidecar that writes at once what has not expired. After what has, it takes
// nothing more on a stream: the next could overtake it.
func (x *twoWays) unlessExpired(s *session, u *sidecarpb.Units) error {
	if s.expired = s.expired || u.GetExpiresAtNs() != 0 && bootClock() > u.GetExpiresAtNs(); !s.expired {
		s.writeAndAck(u)
		return nil
	}
	r := new(sidecarpb.DeliveryReports)
	for i := range u.GetUnits() {
		r.Failed = append(r.Failed, &sidecarpb.UnitFailure{Sequence: u.GetFirstSequence() + uint64(i), Partition: -1,
			Error: &sidecarpb.Error{Code: "EXPIRED", Retryable: true}})
	}
	s.report(r)
	return nil
}

// written returns what is in Kafka, by key.
func (x *twoWays) written(t *testing.T) map[string][]string {
	t.Helper()
	want := int64(0)
	for _, p := range x.kafka.PartitionInfos("t") {
		want += p.HighWatermark
	}
	got := map[string][]string{}
	cl := x.client(t, kgo.ConsumeTopics("t"), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()))
	defer cl.Close()
	for n := int64(0); n < want; {
		cl.PollFetches(t.Context()).EachRecord(func(r *kgo.Record) {
			got[string(r.Key)] = append(got[string(r.Key)], string(r.Value))
			n++
		})
	}
	return got
}

// mustBeOnce demands that every key has 0, 1, 2 … in order and nothing twice.
func (x *twoWays) mustBeOnce(t *testing.T, want map[string]int) {
	t.Helper()
	got := x.written(t)
	for key, n := range want {
		for i, v := range got[key] {
			if v != strconv.Itoa(i) {
				t.Fatalf("%s: position %d has %s: lost, repeated or out of order", key, i, v)
			}
		}
		if len(got[key]) != n {
			t.Errorf("%s: %d of %d are in Kafka", key, len(got[key]), n)
		}
	}
}

// gate is the network between client and sidecar. Closed, nothing passes, and nothing is lost: what
// was written arrives when it opens, as it does at a process that was stopped and goes on.
type gate struct {
	mu     sync.Mutex
	closed chan struct{} // nil: open
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = make(chan struct{})
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.closed)
	g.closed = nil
}

func (g *gate) wait() {
	g.mu.Lock()
	closed := g.closed
	g.mu.Unlock()
	if closed != nil {
		<-closed
	}
}

func (g *gate) dial(ctx context.Context, dial func(context.Context) (net.Conn, error)) (net.Conn, error) {
	g.mu.Lock()
	closed := g.closed
	g.mu.Unlock()
	if closed != nil {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	conn, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	c := &gated{Conn: conn, g: g, out: make(chan []byte, 1000), in: make(chan []byte), over: make(chan struct{})}
	go c.pass()
	go c.take()
	return c, nil
}

type gated struct {
	net.Conn
	g     *gate
	mu    sync.Mutex
	ended bool
	over  chan struct{}
	out   chan []byte
	in    chan []byte
	rest  []byte
}

func (c *gated) pass() {
	for b := range c.out {
		c.g.wait()
		if _, err := c.Conn.Write(b); err != nil {
			break
		}
	}
	_ = c.Conn.Close()
}

func (c *gated) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return 0, net.ErrClosed
	}
	c.out <- append([]byte(nil), b...)
	return len(b), nil
}

func (c *gated) take() {
	defer close(c.in)
	for {
		b := make([]byte, 32<<10)
		n, err := c.Conn.Read(b)
		c.g.wait()
		select {
		case c.in <- b[:n]:
		case <-c.over:
			return
		}
		if err != nil {
			return
		}
	}
}

func (c *gated) Read(b []byte) (int, error) {
	if len(c.rest) == 0 {
		select {
		case c.rest = <-c.in:
		case <-c.over:
		}
	}
	if len(c.rest) == 0 {
		return 0, net.ErrClosed
	}
	n := copy(b, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// Close lets what was written arrive before the end.
func (c *gated) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ended {
		c.ended = true
		close(c.out)
		close(c.over)
	}
	return nil
}

// load delivers numbered units for some keys until it is stopped.
type loader struct {
	stop chan struct{}
	wg   sync.WaitGroup
	list []*producertest.Recorder
	next map[string]int
}

func startLoad(t *testing.T, p producer.Producer, seed uint64) *loader {
	l := &loader{stop: make(chan struct{}), next: map[string]int{}}
	rng := rand.New(rand.NewPCG(seed, 3))
	l.wg.Go(func() {
		for {
			select {
			case <-l.stop:
				return
			case <-time.After(time.Duration(rng.IntN(20)) * time.Millisecond):
			}
			units := make([]producer.Unit, 1+rng.IntN(20))
			for i := range units {
				key := fmt.Sprintf("k%d", rng.IntN(5))
				units[i].Outputs = []producer.Record{record1(key, strconv.Itoa(l.next[key]))}
				l.next[key]++
			}
			r := producertest.NewRecorder(len(units))
			if err := p.Deliver(context.Background(), units, r); err != nil {
				t.Errorf("Deliver: %v", err)
				return
			}
			l.list = append(l.list, r)
		}
	})
	return l
}

// end stops the load and demands that every unit was acked once.
func (l *loader) end(t *testing.T) {
	t.Helper()
	close(l.stop)
	l.wg.Wait()
	for _, r := range l.list {
		mustBeAcked(t, r)
	}
}

func stats(p producer.Producer) producer.FallbackStats {
	return p.(producer.Switcher).FallbackStats()
}

func set(t *testing.T, p producer.Producer, mode producer.FallbackMode) {
	t.Helper()
	if err := p.(producer.Switcher).SetFallback(mode); err != nil {
		t.Fatal(err)
	}
}

// eventually waits, in the bubble's time.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 6000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("not within a minute: %s", what)
}

// Rolling between the ways under load loses, repeats and reorders nothing when nothing dies.
func TestFallbackRolling(t *testing.T) {
	inTwoWays(t, producer.FallbackConfig{Mode: producer.Forced}, func(t *testing.T, x *twoWays, p producer.Producer) {
		l := startLoad(t, p, 1)
		for i := range 6 {
			active := i%2 == 0
			eventually(t, "the switch", func() bool { return stats(p).Active == active })
			time.Sleep(500 * time.Millisecond)
			if s := stats(p); s.Records == 0 || i > 0 && s.SidecarRecords == 0 {
				t.Errorf("switch %d: %+v", i, s)
			}
			set(t, p, []producer.FallbackMode{producer.Off, producer.Forced}[i%2])
		}
		l.end(t)
		x.mustBeOnce(t, l.next)
		s := stats(p)
		total := 0
		for _, n := range l.next {
			total += n
		}
		if s.Switches < 5 || s.Records+s.SidecarRecords != uint64(total) || s.Time < 1500*time.Millisecond || s.Time > s.Running {
			t.Errorf("%d records, %+v", total, s)
		}
	})
}

// The sidecar gets nothing before everything that was produced directly is reported, or it could
// overtake it.
func TestFallbackReturnsWhenNothingIsOpen(t *testing.T) {
	inTwoWays(t, producer.FallbackConfig{Mode: producer.Forced}, func(t *testing.T, x *twoWays, p producer.Producer) {
		if err := p.Assign(t.Context(), producer.Membership{Group: "g"}, []producer.Assignment{{Epoch: 1}}); err != nil {
			t.Fatal(err)
		}
		mustBeAcked(t, deliver(t, p, numbered(1)...))
		stall := x.kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicas, Count: -1})
		unit := func(epoch uint64, i int) producer.Unit {
			return producer.Unit{Source: producer.Source{Epoch: epoch}, Outputs: []producer.Record{record1("k", strconv.Itoa(i))}}
		}
		r := deliver(t, p, unit(0, 1), unit(1, 2))
		time.Sleep(time.Second)
		released := make(chan error, 1)
		go func() { released <- p.Release(context.Background(), []uint64{1}) }()
		set(t, p, producer.Off)
		synctest.Wait()
		later := deliver(t, p, unit(0, 3))
		time.Sleep(10 * time.Second)
		if !stats(p).Active || x.session(0) != nil || r.Fates()[0].Reported || len(released) > 0 {
			t.Errorf("%+v, %+v, %d: the switch was made, or Release returned, before the direct way's reports", stats(p), r.Fates(), len(released))
		}
		stall.Remove()
		mustBeAcked(t, r)
		mustBeAcked(t, later)
		if err := <-released; err != nil {
			t.Errorf("Release: %v", err)
		}
		x.mustBeOnce(t, map[string]int{"k": 4})
		if s := stats(p); s.Records != 3 || s.SidecarRecords != 1 {
			t.Errorf("%+v, want 3 records directly and 1 through the sidecar", s)
		}
	})
}

// A sidecar that is stopped and goes on: units go directly when those that it may have got are
// expired, it writes nothing of them late, and they come back to it when it has been healthy for
// long enough. Nothing is lost or repeated, whichever wakes first.
func TestFallbackStoppedSidecar(t *testing.T) {
	for name, c := range map[string]struct {
		stopped, ttl time.Duration
		active       bool // when it wakes
	}{
		"it wakes after the switch":               {60 * time.Second, 0, true},
		"it wakes after the switch, long expiry":  {60 * time.Second, 30 * time.Second, true},
		"it wakes before its units expire":        {25 * time.Second, 40 * time.Second, false},
		"it wakes before it is noticed, late":     {6 * time.Second, 0, false},
		"it wakes before it is noticed, in time":  {time.Second, 0, false},
		"it wakes when it is noticed, and is not": {10 * time.Second, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			inTwoWays(t, producer.FallbackConfig{Mode: producer.OnUnavailable, UnitTTL: c.ttl}, func(t *testing.T, x *twoWays, p producer.Producer) {
				stopped := c.stopped
				l := startLoad(t, p, uint64(stopped))
				time.Sleep(time.Second)
				x.gate.close()
				time.Sleep(stopped)
				if active := stats(p).Active; active != c.active {
					t.Errorf("directly to Kafka after %v: %t", stopped, active)
				}
				x.gate.open()
				eventually(t, "back at the sidecar", func() bool { return !stats(p).Active })
				before := stats(p).SidecarRecords
				eventually(t, "units through the sidecar", func() bool { return stats(p).SidecarRecords > before })
				l.end(t)
				x.mustBeOnce(t, l.next)
			})
		})
	}
}

// A sidecar that died is left without waiting for expiry, and found again when it is back.
func TestFallbackDeadSidecar(t *testing.T) {
	ttl := time.Hour // it is proven that it does nothing any more
	inTwoWays(t, producer.FallbackConfig{Mode: producer.OnUnavailable, UnitTTL: ttl}, func(t *testing.T, x *twoWays, p producer.Producer) {
		x.script.mu.Lock()
		n := 0
		x.units = func(s *session, u *sidecarpb.Units) error {
			if n++; n < 100 {
				return x.unlessExpired(s, u)
			}
			return nil // and it dies with them
		}
		x.script.mu.Unlock()
		l := startLoad(t, p, 7)
		time.Sleep(6 * time.Second)
		x.mu.Lock()
		x.died = true
		x.mu.Unlock()
		x.stop()
		x.die()
		died := time.Now()
		eventually(t, "directly to Kafka", func() bool { return stats(p).Active })
		if d := time.Since(died); d < 5*time.Second || d > 6*time.Second {
			t.Errorf("the switch took %v, want After", d)
		}
		if err := p.Check(t.Context()); err != nil {
			t.Errorf("Check on the direct way: %v", err)
		}
		time.Sleep(time.Second)
		n = 0
		x.start()
		back := time.Now()
		eventually(t, "back at the sidecar", func() bool { return !stats(p).Active })
		if d := time.Since(back); d < 10*time.Second || d > 13*time.Second {
			t.Errorf("the way back took %v, want Return", d)
		}
		l.end(t)
		for key, got := range x.written(t) { // what it had written and not reported may be there twice
			next := 0
			for _, v := range got {
				if i, _ := strconv.Atoi(v); i > next {
					t.Fatalf("%s: %d came before %d (S7)", key, i, next)
				} else if i == next {
					next++
				}
			}
			if next != l.next[key] {
				t.Errorf("%s: %d of %d are in Kafka", key, next, l.next[key])
			}
		}
	})
}

// What was sent while fallback was off never expires, so it keeps the client from the other way
// until the sidecar has reported it or is gone.
func TestFallbackWaitsForWhatNeverExpires(t *testing.T) {
	inTwoWays(t, producer.FallbackConfig{}, func(t *testing.T, x *twoWays, p producer.Producer) {
		var late []func()
		x.script.mu.Lock()
		x.units = func(s *session, u *sidecarpb.Units) error {
			if u.GetExpiresAtNs() != 0 {
				t.Error("units expire though fallback is off")
			}
			late = append(late, func() { s.writeAndAck(u) })
			return nil
		}
		x.script.mu.Unlock()
		r := deliver(t, p, numbered(3)...)
		synctest.Wait()
		x.gate.close()
		set(t, p, producer.OnUnavailable)
		time.Sleep(time.Minute)
		if stats(p).Active {
			t.Fatal("the client went to Kafka with units that the sidecar may still write")
		}
		for _, fn := range late {
			fn()
		}
		x.gate.open()
		mustBeAcked(t, r)
		x.mustBeOnce(t, map[string]int{"k": 3})
	})
}

// Units that come too late to the sidecar are sent again, in order, on a stream that goes on with
// the session; the user sees nothing of it.
func TestFallbackResendsWhatExpired(t *testing.T) {
	inTwoWays(t, producer.FallbackConfig{Mode: producer.OnUnavailable}, func(t *testing.T, x *twoWays, p producer.Producer) {
		x.script.mu.Lock()
		n := 0
		x.units = func(s *session, u *sidecarpb.Units) error {
			if n++; n == 2 {
				time.Sleep(6 * time.Second) // it could not go on with the second message: what waits behind is late, too
			}
			return x.unlessExpired(s, u)
		}
		x.script.mu.Unlock()
		x.script.credit = &sidecarpb.Credit{Bytes: 1 << 20, Records: 1000}
		var list []*producertest.Recorder
		for i := range 20 {
			list = append(list, deliver(t, p, producer.Unit{Outputs: []producer.Record{record1("k", strconv.Itoa(i))}}))
			time.Sleep(10 * time.Millisecond)
		}
		for _, r := range list {
			mustBeAcked(t, r)
		}
		x.mustBeOnce(t, map[string]int{"k": 20})
		x.resumedOnce(t)
		if stats(p).Active || stats(p).Switches != 0 {
			t.Errorf("%+v: the sidecar was available", stats(p))
		}
	})
}

// Modes without a configuration for them are refused, by name.
func TestFallbackConfigErrors(t *testing.T) {
	direct := producer.DirectConfig{Brokers: []string{"127.0.0.1:1"}}
	for _, c := range []struct {
		name string
		cfg  producer.FallbackConfig
		want []string
	}{
		{"mode", producer.FallbackConfig{Mode: 7, Direct: direct}, []string{"Fallback.Mode", "7", "producer.OnUnavailable"}},
		{"no brokers", producer.FallbackConfig{Mode: producer.Forced}, []string{"Fallback.Direct", "forced", "Brokers"}},
		{"after", producer.FallbackConfig{After: -1}, []string{"Fallback.After", "-1"}},
		{"return", producer.FallbackConfig{Return: -1}, []string{"Fallback.Return"}},
		{"ttl", producer.FallbackConfig{UnitTTL: -1}, []string{"Fallback.UnitTTL"}},
		{"direct", producer.FallbackConfig{Mode: producer.OnUnavailable, Direct: producer.DirectConfig{Brokers: direct.Brokers, MaxBufferedBytes: -1}},
			[]string{"Fallback.Direct", "MaxBufferedBytes"}},
		{"option", producer.FallbackConfig{Mode: producer.OnUnavailable, Direct: producer.DirectConfig{Options: []kgo.Opt{kgo.TransactionalID("x")}}},
			[]string{"Fallback.Direct", "kgo.TransactionalID"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := producer.DialConfig{Target: "unix:///x", Fallback: c.cfg}.New()
			defer p.Close()
			mustSay(t, p.Check(t.Context()), c.want...)
		})
	}
	p := producer.DialConfig{Target: "unix:///x"}.New()
	defer p.Close()
	mustSay(t, p.(producer.Switcher).SetFallback(producer.OnUnavailable), "Fallback.Direct", "Brokers")
	if err := p.(producer.Switcher).SetFallback(producer.Off); err != nil {
		t.Error(err)
	}
}
