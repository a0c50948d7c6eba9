package chaos

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/proof/figures"
	"github.com/ackmark/ackmark/internal/proof/netfault"
)

// apps is how many a row has.
func (r *Row) apps() int {
	if r.Apps > 0 {
		return r.Apps
	}
	return apps
}

// endLost loses the answers to a sidecar about its transactions, and then has their coordinator
// die, or move: nobody has said how they ended.
func endLost(s *stage) error {
	s.res.Incidents++
	proxy := s.brokersProxy["sidecar"]
	if s.dev != nil {
		lost := make(chan struct{})
		s.dev.Cluster().ControlKey(int16(kmsg.EndTxn), func(kmsg.Request) (kmsg.Response, error, bool) {
			proxy.HalfOpen(netfault.Down)
			s.dev.Cluster().DropControl()
			close(lost)
			return nil, nil, false
		})
		select {
		case <-lost:
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		}
		s.sleep(100 * time.Millisecond)
		proxy.Cut()
		s.dev.Cluster().RehashCoordinators()
		proxy.Heal()
		s.sleep(2 * time.Second)
		return nil
	}
	broker, err := s.transactionCoordinator()
	if err != nil {
		return err
	}
	proxy.HalfOpen(netfault.Down)
	s.sleep(150 * time.Millisecond) // a transaction and a half
	s.Brokers.Kill(broker)
	proxy.Cut()
	proxy.Heal()
	s.sleep(6 * time.Second)
	s.Brokers.Restart(broker)
	s.sleep(2 * time.Second)
	return nil
}

// transactionCoordinator is the broker that coordinates the sidecar's transactions: those of one of
// its ids.
func (s *stage) transactionCoordinator() (int, error) {
	id := s.transactionalIDs()[0]
	found := s.admin.FindTxnCoordinators(s.ctx, id)
	c, known := found[id]
	if !known || c.Err != nil {
		return 0, fmt.Errorf("the coordinator of %s: %w", id, c.Err)
	}
	return int(c.NodeID), nil
}

// transactionalIDs are those under which the sidecar of the row writes.
func (s *stage) transactionalIDs() []string { return []string{s.name + "-0", s.name + "-1"} }

// others is how long it may take until a reader sees an output of an app that nothing was done to.
const others = time.Second

// slowOne gives the first app more than it gets done, so that it has work for longer than its
// session.
func slowOne(sp *spec) {
	shortSession(sp)
	if sp.Name == "app-1" {
		sp.Work = 60 * time.Millisecond
	}
}

// fencedInside cuts one of three apps from the brokers for longer than its session, while it goes
// on to hand its work to the sidecar: its group expels it inside of transactions that it shares.
// The others must not notice.
func fencedInside(s *stage) error {
	fenced := processName("app-1", s.procs.named("app-1").Pid())
	s.tail.measure(fenced)
	s.sleep(8 * time.Second)
	before := s.tail.latencies()
	s.incident("blackhole", "app-1")
	s.tail.measure(fenced)
	s.brokersProxy["app-1"].Blackhole()
	s.sleep(9 * time.Second)
	s.brokersProxy["app-1"].Heal()
	s.sleep(3 * time.Second)
	says, err := unnoticed(before, s.tail.latencies())
	fmt.Fprintf(s.Progress, "    outputs of partitions that did not move: %s\n", says)
	return err
}

// unnoticed judges how long others' outputs took before a fault and while it was there, sorted. A
// machine without room takes its time before the fault, too: then the fault may add half of what it
// may take where there is room.
func unnoticed(before, during []time.Duration) (says string, err error) {
	says = fmt.Sprintf("before it %d, seen after %s (p50), %s (p99); then %d, after %s (p50), %s (p99)",
		len(before), show(figures.Quantile(before, 0.5)), show(figures.Quantile(before, 0.99)),
		len(during), show(figures.Quantile(during, 0.5)), show(figures.Quantile(during, 0.99)))
	if len(before) == 0 || len(during) == 0 {
		return says, fmt.Errorf("no partition stayed where it was: %s", says)
	}
	limit := max(others, figures.Quantile(before, 0.99)+others/2)
	if figures.Quantile(during, 0.99) > limit {
		err = fmt.Errorf("the other apps noticed, at most %s (p99) may they take: %s", show(limit), says)
	}
	return says, err
}

// twoSidecars starts a second sidecar under the same transactional id, at a socket of its own: the
// older one ends by itself. Started again, as a supervisor does it, it takes the id back; nobody is
// at the second one's socket who would have it notice.
func twoSidecars(s *stage) error {
	s.res.Incidents++
	s.startSidecarAs("sidecar-2", filepath.Join(s.dir, "second.sock"))
	if err := s.endsByItself("sidecar"); err != nil {
		return err
	}
	s.startSidecar()
	s.sleep(2 * time.Second)
	s.procs.named("sidecar-2").Kill()
	return nil
}

// endsByItself waits for the end of a process that nobody asked to end.
func (s *stage) endsByItself(name string) error {
	p := s.procs.named(name)
	ctx, cancel := context.WithTimeoutCause(s.ctx, settle, fmt.Errorf("%s, whose transactional id another one has, goes on", name))
	defer cancel()
	code, err := p.Wait(ctx)
	if err == nil && code == 0 {
		err = fmt.Errorf("%s, whose transactional id another one has, ended as if all were well", name)
	}
	return err
}

// transactions follows how long those of the sidecar are open, by asking their coordinators.
type transactions struct {
	mu   sync.Mutex
	open map[transaction]time.Duration
}

// transaction is one of an id, by the epoch of its producer.
type transaction struct {
	id       string
	producer int64
	epoch    int16
}

const askTransactions = 50 * time.Millisecond

func (t *transactions) run(s *stage) {
	tick := time.NewTicker(askTransactions)
	defer tick.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
		}
		ctx, cancel := context.WithTimeout(s.ctx, 5*time.Second)
		list, err := s.admin.DescribeTransactions(ctx, s.transactionalIDs()...)
		cancel()
		if err == nil { // brokers are broken on purpose
			t.saw(list, time.Now())
		}
	}
}

func (t *transactions) saw(list kadm.DescribedTransactions, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open == nil {
		t.open = map[transaction]time.Duration{}
	}
	for _, d := range list {
		if d.Err == nil && d.State == "Ongoing" && d.StartTimestamp > 0 {
			of := transaction{d.TxnID, d.ProducerID, d.ProducerEpoch}
			t.open[of] = max(t.open[of], now.Sub(time.UnixMilli(d.StartTimestamp)))
		}
	}
}

func (t *transactions) fill(r *Result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	took := make([]time.Duration, 0, len(t.open))
	for _, d := range t.open {
		took = append(took, d)
	}
	slices.Sort(took)
	if r.Transactions = len(took); r.Transactions > 0 {
		r.OpenP50, r.OpenP99, r.OpenMax = figures.Quantile(took, 0.5), figures.Quantile(took, 0.99), figures.Quantile(took, 1)
	}
}
