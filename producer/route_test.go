package producer_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/producer/producertest"
	"github.com/ackmark/ackmark/sidecar"
	"github.com/ackmark/ackmark/sidecar/sidecartest"
)

// routedProducer is a producer with routes at a sidecar and a broker.
func routedProducer(b *broker, target string, topics map[string]string, change func(*producer.RouteConfig)) producer.Producer {
	c := producer.RouteConfig{
		Sidecar: producer.DialConfig{Target: target, App: "test", Logger: slog.New(slog.DiscardHandler)},
		Direct:  producer.DirectConfig{Brokers: b.ListenAddrs(), Options: quick}, Topics: topics,
	}
	if change != nil {
		change(&c)
	}
	return c.New()
}

// blind does not tell where records are, like the sidecar's client.
type blind struct{ producer.Producer }

func (p blind) Emit(ctx context.Context, rec producer.Record) (producer.Ack, error) {
	a, err := p.Producer.Emit(ctx, rec)
	if err == nil {
		a.Partition, a.Offset = -1, -1
	}
	return a, err
}

// A producer that goes both ways is one like the others.
func TestRouteConformance(t *testing.T) {
	for _, by := range []string{"direct", "sidecar:50", "sidecar"} {
		t.Run(by, func(t *testing.T) {
			producertest.Run(t, func(t *testing.T) producertest.Harness {
				b := newBroker(t)
				socket := filepath.Join(t.TempDir(), "s", "sidecar.sock")
				startSidecar(t, b, socket)
				return producertest.Harness{
					BadTopic: badTopic, BadCode: "UNKNOWN_TOPIC_OR_PARTITION", NoOffsets: true, Stall: b.Stall, Records: b.Records, CheckLeaks: noClientGoroutines,
					New: func(_ *testing.T, o producertest.Options) producer.Producer {
						return blind{routedProducer(b, "unix://"+socket, map[string]string{"*": by}, func(c *producer.RouteConfig) {
							c.Sidecar.MaxBufferedRecords, c.Sidecar.OnFull, c.Sidecar.CloseTimeout = o.MaxRecords, o.OnFull, o.CloseTimeout
						})}
					},
				}
			})
		})
	}
}

// routedLoad delivers units with outputs of several keys and topics, from several goroutines that
// each have keys of their own, until stop; it returns how many records each key of each topic has.
type routedLoad struct {
	p    producer.Producer
	stop chan struct{}
	wg   sync.WaitGroup
	mu   sync.Mutex
	made map[string]int
	all  []*producertest.Recorder
}

func startRouted(t *testing.T, p producer.Producer, topics ...string) *routedLoad {
	l := &routedLoad{p: p, stop: make(chan struct{}), made: map[string]int{}}
	for g := range 3 {
		l.wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g), 7))
			made := map[string]int{}
			for n := 0; ; n++ {
				select {
				case <-l.stop:
					l.mu.Lock()
					for k, v := range made {
						l.made[k] = v
					}
					l.mu.Unlock()
					return
				default:
				}
				units := make([]producer.Unit, 1+rng.IntN(20))
				for i := range units {
					for range rng.IntN(4) {
						topic, key := topics[rng.IntN(len(topics))], fmt.Sprintf("g%d-k%d", g, rng.IntN(12))
						made[topic+" "+key]++
						units[i].Outputs = append(units[i].Outputs, producer.Record{Topic: topic, Key: []byte(key), Value: strconv.AppendInt(nil, int64(made[topic+" "+key]), 10)})
					}
				}
				r := producertest.NewRecorder(len(units))
				if err := p.Deliver(context.Background(), units, r); err != nil {
					t.Errorf("Deliver: %v", err)
					return
				}
				l.mu.Lock()
				l.all = append(l.all, r)
				l.mu.Unlock()
				if n%50 == 0 {
					_ = p.Flush(context.Background())
				}
			}
		})
	}
	return l
}

// end stops the load, and demands that every record is there once, each key's in order.
func (l *routedLoad) end(t *testing.T, b *broker, topics ...string) {
	t.Helper()
	close(l.stop)
	l.wg.Wait()
	if err := l.p.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, r := range l.all {
		if err := r.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	records := 0
	for _, topic := range topics {
		seen := map[string]int{}
		for _, r := range b.Records(t, topic) {
			name := topic + " " + string(r.Key)
			n, _ := strconv.Atoi(string(r.Value))
			if n != seen[name]+1 {
				t.Errorf("%s: %d comes after %d", name, n, seen[name])
			}
			seen[name] = n
			records++
		}
		for name, n := range l.made {
			if strings.HasPrefix(name, topic+" ") && seen[name] != n {
				t.Errorf("%s: %d of %d records", name, seen[name], n)
			}
		}
	}
	if records == 0 {
		t.Error("nothing was written")
	}
}

// Routes change all the time while units of many keys are on their way both ways: nothing is lost,
// nothing is written twice, each key keeps its order.
func TestRoutesChangeUnderLoad(t *testing.T) {
	b := newBroker(t)
	sc := sidecartest.Start(t, b.ListenAddrs(), nil)
	p := routedProducer(b, sc.Target, map[string]string{"*": "direct"}, nil)
	defer p.Close()
	l := startRouted(t, p, producertest.TopicA, producertest.TopicB)
	ways := []string{"direct", "sidecar:1", "sidecar:50", "fallback:75", "sidecar", "direct:30", "fallback"}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 60 {
		var list []sidecar.Route
		for _, topic := range []string{producertest.TopicA, producertest.TopicB} {
			list = append(list, sidecar.Route{App: "test", Topic: topic, By: ways[rng.IntN(len(ways))]})
		}
		if err := sc.SetRoutes(list); err != nil {
			t.Fatal(err)
		}
		awaitRoutes(t, p, list)
	}
	l.end(t, b, producertest.TopicA, producertest.TopicB)
}

// awaitRoutes waits until the producer goes by these routes, and no key waits.
func awaitRoutes(t *testing.T, p producer.Producer, list []sidecar.Route) {
	t.Helper()
	for end := time.Now().Add(producertest.Patience); ; time.Sleep(time.Millisecond) {
		left := slices.Clone(list)
		for _, s := range p.(producer.Router).Routes() {
			left = slices.DeleteFunc(left, func(r sidecar.Route) bool {
				return r.Topic == s.Topic && s.From == "sidecar" && sameRoute(r.By, s.By) && !s.Waiting
			})
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the producer has %v, does not go by %v", p.(producer.Router).Routes(), left)
		}
	}
}

func sameRoute(a, b string) bool {
	return a == b || a == "direct:30" && b == "sidecar:70"
}

// What says which way counts: the sidecar, else the environment, else the code.
func TestWhoSaysTheRoute(t *testing.T) {
	b := newBroker(t)
	sc := sidecartest.Start(t, b.ListenAddrs(), nil)
	t.Setenv(producer.RoutesEnv, producertest.TopicB+"=sidecar:20")
	p := routedProducer(b, sc.Target, map[string]string{producertest.TopicA: "direct:90", producertest.TopicB: "direct"}, nil)
	defer p.Close()
	is := func(want ...string) {
		t.Helper()
		var got []string
		for end := time.Now().Add(producertest.Patience); !slices.Equal(got, want); time.Sleep(time.Millisecond) {
			got = nil
			for _, s := range p.(producer.Router).Routes() {
				got = append(got, s.By+" by "+s.From)
			}
			if time.Now().After(end) {
				t.Fatalf("%v, want %v", got, want)
			}
		}
	}
	for _, topic := range []string{producertest.TopicA, producertest.TopicB} {
		if _, err := p.Emit(t.Context(), producer.Record{Topic: topic, Key: []byte("k")}); err != nil {
			t.Fatal(err)
		}
	}
	is("sidecar:10 by configuration", "sidecar:20 by environment")
	for _, x := range []struct {
		list []sidecar.Route
		want []string
	}{
		{[]sidecar.Route{{App: "test", Topic: producertest.TopicB, By: "fallback:5"}}, []string{"sidecar:10 by configuration", "fallback:5 by sidecar"}},
		{[]sidecar.Route{{App: "*", Topic: "*", By: "direct"}}, []string{"direct by sidecar", "direct by sidecar"}},
		{[]sidecar.Route{{App: "another", Topic: "*", By: "direct"}}, []string{"sidecar:10 by configuration", "sidecar:20 by environment"}},
	} {
		if err := sc.SetRoutes(x.list); err != nil {
			t.Fatal(err)
		}
		is(x.want...)
	}
}

// While nothing goes through the sidecar, it knows of no partition of this process; before the
// first unit goes there it does; and on the way back it forgets.
func TestTheSidecarKnowsWhatGoesThroughIt(t *testing.T) {
	b := newBroker(t)
	sc := sidecartest.Start(t, b.ListenAddrs(), nil)
	p := routedProducer(b, sc.Target, map[string]string{"*": "direct"}, nil)
	defer p.Close()
	var mu sync.Mutex
	at := uint64(0) // inputs that are done
	progress := func() producer.Progress {
		mu.Lock()
		defer mu.Unlock()
		return producer.Progress{Index: at, Offset: int64(at)}
	}
	if err := p.Assign(t.Context(), producer.Membership{Group: "g", MemberID: "m", Generation: 1}, []producer.Assignment{{Epoch: 1, Topic: "in", Progress: progress}}); err != nil {
		t.Fatal(err)
	}
	deliver := func() {
		t.Helper()
		mu.Lock()
		n := at
		mu.Unlock()
		r := producertest.NewRecorder(1)
		unit := producer.Unit{Source: producer.Source{Epoch: 1, Index: n, Offset: int64(n)}, Outputs: []producer.Record{{Topic: producertest.TopicA, Key: fmt.Appendf(nil, "k%d", n)}}}
		if err := p.Deliver(t.Context(), []producer.Unit{unit}, r); err != nil {
			t.Fatal(err)
		}
		if err := r.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		at++
		mu.Unlock()
	}
	knows := func(want int, mark int64) {
		t.Helper()
		for end := time.Now().Add(producertest.Patience); ; time.Sleep(time.Millisecond) {
			st, err := sc.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if len(st.GetSessions()) == 1 {
				held := st.GetSessions()[0].GetPartitions()
				if len(held) == want && (want == 0 || held[0].GetAckMark() == mark) {
					return
				}
			}
			if time.Now().After(end) {
				t.Fatalf("the sidecar has %v, want %d partitions with mark %d", st.GetSessions(), want, mark)
			}
		}
	}
	set := func(by string) {
		t.Helper()
		list := []sidecar.Route{{App: "test", Topic: producertest.TopicA, By: by}}
		if err := sc.SetRoutes(list); err != nil {
			t.Fatal(err)
		}
		awaitRoutes(t, p, list)
	}
	for range 20 {
		deliver()
	}
	knows(0, 0)
	set("sidecar:50")
	knows(1, 20)
	for range 40 {
		deliver() // some of them go directly: it hears of their inputs all the same
	}
	knows(1, 60)
	set("direct")
	knows(0, 0)
	deliver()
	set("sidecar")
	deliver()
	knows(1, 62)
	if err := p.Release(t.Context(), []uint64{1}); err != nil {
		t.Fatal(err)
	}
	knows(0, 0)
}

func TestRouteConfigErrors(t *testing.T) {
	for want, change := range map[string]func(*producer.RouteConfig){
		"Topics":                  func(c *producer.RouteConfig) { c.Topics = map[string]string{"t": "sidecar:101"} },
		"not a topic":             func(c *producer.RouteConfig) { c.Topics = map[string]string{"not a topic": "direct"} },
		"Sidecar.Fallback.Mode":   func(c *producer.RouteConfig) { c.Sidecar.Fallback.Mode = producer.Forced },
		"Sidecar.Fallback.Direct": func(c *producer.RouteConfig) { c.Sidecar.Fallback.Direct.Brokers = []string{"x:1"} },
		"Target":                  func(c *producer.RouteConfig) { c.Sidecar.Target = "nowhere" },
		"Brokers":                 func(c *producer.RouteConfig) { c.Direct.Brokers = []string{"http://kafka:9092"} },
	} {
		c := producer.RouteConfig{Sidecar: producer.DialConfig{Target: "unix:///no/such.sock", App: "test"}, Direct: producer.DirectConfig{Brokers: []string{"127.0.0.1:1"}}}
		change(&c)
		p := c.New()
		err := p.(producer.Validator).Validate()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
		if closed := p.Close(); closed != nil {
			t.Errorf("%s: %v", want, closed)
		}
	}
	t.Setenv(producer.RoutesEnv, "orders:direct")
	p := producer.RouteConfig{Sidecar: producer.DialConfig{Target: "unix:///no/such.sock"}, Direct: producer.DirectConfig{Brokers: []string{"127.0.0.1:1"}}}.New()
	if err := p.Deliver(t.Context(), []producer.Unit{{}}, producertest.NewRecorder(1)); err == nil || !strings.Contains(err.Error(), producer.RoutesEnv) {
		t.Errorf("the variable: %v", err)
	}
}

// The sidecar must not take an input for done when the outputs that went through it are: those that
// go directly may be lost.
func TestASplitUnitIsDoneWhenBothPartsAre(t *testing.T) {
	b := newBroker(t)
	sc := sidecartest.Start(t, b.ListenAddrs(), nil)
	p := routedProducer(b, sc.Target, map[string]string{producertest.TopicA: "sidecar", producertest.TopicB: "direct"}, nil)
	defer p.Close()
	if err := p.Assign(t.Context(), producer.Membership{Group: "g", MemberID: "m", Generation: 1}, []producer.Assignment{{Epoch: 1, Topic: "in"}}); err != nil {
		t.Fatal(err)
	}
	// What goes directly is refused by the broker, for good.
	unit := producer.Unit{Source: producer.Source{Epoch: 1}, Outputs: []producer.Record{
		{Topic: producertest.TopicB, Key: []byte("k"), Value: []byte("directly")}, {Topic: producertest.TopicA, Key: []byte("k")}, {Topic: badTopic, Partition: new(int32)},
	}}
	r := producertest.NewRecorder(1)
	r2 := producertest.NewRecorder(1)
	bad := routedProducer(b, sc.Target, map[string]string{producertest.TopicA: "sidecar", "*": "direct"}, nil)
	defer bad.Close()
	if err := bad.Assign(t.Context(), producer.Membership{Group: "g2", MemberID: "m2", Generation: 1}, []producer.Assignment{{Epoch: 1, Topic: "in"}}); err != nil {
		t.Fatal(err)
	}
	if err := bad.Deliver(t.Context(), []producer.Unit{unit}, r2); err != nil {
		t.Fatal(err)
	}
	if err := r2.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if f := r2.Fates()[0]; f.Err == nil || f.Err.Output != 2 {
		t.Errorf("the fate of a unit of which one output is refused: %+v, want one that names output 2", f)
	}
	unit.Outputs = unit.Outputs[:2]
	if err := p.Deliver(t.Context(), []producer.Unit{unit}, r); err != nil {
		t.Fatal(err)
	}
	if err := r.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if f := r.Fates()[0]; f.Err != nil {
		t.Errorf("its fate: %v", f.Err)
	}
	for end := time.Now().Add(producertest.Patience); ; time.Sleep(time.Millisecond) {
		st, err := sc.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		marks := map[string]int64{}
		for _, s := range st.GetSessions() {
			for _, held := range s.GetPartitions() {
				marks[s.GetGroup()] = held.GetAckMark()
			}
		}
		if marks["g2"] != 0 {
			t.Fatalf("the sidecar takes an input for done of which an output was refused: mark %d", marks["g2"])
		}
		if marks["g"] == 1 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("marks %v, want 1 for what is done", marks)
		}
	}
}
