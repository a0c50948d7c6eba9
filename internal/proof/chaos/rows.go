package chaos

import (
	"fmt"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/proof/netfault"
	"github.com/ackmark/ackmark/internal/proof/verify/reader"
)

// Row is one fault of docs/faults.md, as it is done on one machine. Some are done in two ways.
type Row struct {
	Number int
	Fault  string
	// NotHere says why the row cannot be made here, and where it is proven instead.
	NotHere string
	// Do makes the fault, once or several times, under load. After is done when all is drained.
	Do, After func(s *stage) error
	// Duplicates: what may come again.
	Duplicates bound

	SocketProxy bool   // app-1 reaches the sidecar through a proxy
	BrokerProxy string // who reaches the brokers through one: app, sidecar or both
	Broker      string // needs brokers to break: embedded, real or either
	Work        time.Duration
	Rate        int
	App         func(*spec)
	Apps        int  // how many; 0: two
	ExactlyOnce bool // it is one of exactly-once alone
	KeysMove    bool // between partitions, by intent: their order is not the pipeline's
	Takeover    bool // it has to show how long partitions wait for another process
	Alone       bool // it judges times, so no other row takes processors from it
}

// bound is what may come again.
type bound int

const (
	nothing     bound = iota // but, in a classic group, W + C of an app that dies within a rebalance whose end it does not live to hear
	inFlight                 // W: inputs that the processes concerned had in hand
	uncommitted              // W + C: and what was done since the last commit
	intended                 // an operator asked for it
)

func (r *Row) bound(res *Result) (int64, string) {
	t := total(res.costs)
	switch {
	case r.Duplicates == inFlight:
		return t.inFlight, fmt.Sprintf("W %d", t.inFlight)
	case r.Duplicates == uncommitted:
		return t.sum(), fmt.Sprintf("W %d + C %d", t.inFlight, t.since)
	case r.Duplicates == intended:
		return -1, "intended"
	case res.superseded > 0 && res.Protocol != consumer.ConsumerProtocol:
		t := total(largest(res.costs, res.superseded))
		return t.sum(), fmt.Sprintf("W %d + C %d (%d in a rebalance)", t.inFlight, t.since, res.superseded)
	}
	return 0, "0"
}

// missing says why a row cannot run in this place.
func (r *Row) missing(e *Env) string {
	switch {
	case r.NotHere != "":
		return r.NotHere
	case r.ExactlyOnce && !e.ExactlyOnce:
		return "it is one of exactly-once: --exactly-once"
	case e.ExactlyOnce && r.Number == 28:
		return "exactly-once has no fallback"
	case r.Broker == "embedded" && e.dev == nil:
		return "it needs a broker that fails on command: --embedded"
	case r.Broker == "real" && e.Brokers == nil:
		return "it needs brokers of its own to kill: make chaos"
	case r.Broker == "either" && e.dev == nil && e.Brokers == nil:
		return "it needs brokers that may be broken: --embedded, or make chaos"
	}
	return ""
}

// Rows are all faults, in the order of their numbers.
var Rows = []Row{
	{Number: 1, Fault: "app SIGKILL", Takeover: true, Do: times(4, func(s *stage) error {
		name := s.any()
		s.kill(name)
		s.sleep(2500 * time.Millisecond)
		s.again(name)
		s.sleep(1500 * time.Millisecond)
		return nil
	})},
	{Number: 2, Fault: "app SIGSTOP for longer than the grace, then SIGCONT", Duplicates: inFlight, Do: func(s *stage) error {
		s.incident("SIGSTOP", "app-1")
		s.pause("app-1")
		s.sleep(14 * time.Second)
		s.resume("app-1")
		s.sleep(3 * time.Second)
		return nil
	}},
	{Number: 3, Fault: "app SIGSTOP for less than the keepalive", Do: times(2, func(s *stage) error {
		s.incident("SIGSTOP", "app-1")
		s.pause("app-1")
		s.sleep(3 * time.Second)
		s.resume("app-1")
		s.sleep(time.Second)
		return nil
	})},
	{Number: 4, Fault: "sidecar SIGKILL", Duplicates: inFlight, Do: times(3, func(s *stage) error {
		s.kill("sidecar")
		s.sleep(500 * time.Millisecond)
		s.again("sidecar")
		s.sleep(2 * time.Second)
		return nil
	})},
	{Number: 5, Fault: "sidecar SIGSTOP, then SIGCONT", Duplicates: inFlight, Do: func(s *stage) error {
		s.incident("SIGSTOP", "sidecar")
		s.pause("sidecar")
		s.sleep(12 * time.Second)
		s.resume("sidecar")
		s.sleep(3 * time.Second)
		return nil
	}},
	{Number: 6, Fault: "the whole pod SIGKILLed", Duplicates: uncommitted, App: shortSession, Do: times(2, func(s *stage) error {
		s.incident("SIGKILL of the pod", "")
		for _, name := range []string{"sidecar", "app-1", "app-2"} {
			_ = s.procs.named(name).Signal(syscall.SIGKILL)
		}
		for _, name := range []string{"sidecar", "app-1", "app-2"} {
			s.procs.named(name).Kill()
		}
		for _, name := range []string{"sidecar", "app-1", "app-2"} {
			s.again(name)
		}
		s.sleep(9 * time.Second)
		return nil
	})},
	{Number: 7, Fault: "partition leader killed or moved", Broker: "either", Do: func(s *stage) error {
		s.res.Incidents++
		if s.dev != nil {
			for range 5 {
				s.dev.Cluster().ShufflePartitionLeaders()
				s.sleep(700 * time.Millisecond)
			}
			return nil
		}
		leader := s.Brokers.LeaderOf(s.output, 0)
		s.Brokers.Kill(leader)
		s.sleep(6 * time.Second)
		s.Brokers.Restart(leader)
		s.sleep(2 * time.Second)
		return nil
	}},
	{Number: 8, Fault: "group coordinator killed or moved", Broker: "either", Do: func(s *stage) error {
		s.res.Incidents++
		if s.dev != nil {
			for range 5 {
				s.dev.Cluster().RehashCoordinators()
				s.sleep(700 * time.Millisecond)
			}
			return nil
		}
		coordinator := s.Brokers.GroupCoordinator(s.name)
		s.Brokers.Kill(coordinator)
		s.sleep(6 * time.Second)
		s.Brokers.Restart(coordinator)
		s.sleep(2 * time.Second)
		return nil
	}},
	{Number: 9, Fault: "all brokers out of reach for 12 s", BrokerProxy: "both", Duplicates: uncommitted, App: shortSession, Do: func(s *stage) error {
		s.incident("blackhole", "sidecar")
		s.network((*netfault.Proxy).Blackhole)
		s.sleep(12 * time.Second)
		s.network((*netfault.Proxy).Heal)
		s.sleep(3 * time.Second)
		return nil
	}},
	{Number: 10, Fault: "app–sidecar blackhole", SocketProxy: true, Duplicates: inFlight, Do: func(s *stage) error {
		s.incident("blackhole", "app-1")
		s.socketProxy.Blackhole()
		s.sleep(14 * time.Second)
		s.socketProxy.Heal()
		s.sleep(3 * time.Second)
		return nil
	}},
	{Number: 10, Fault: "app–sidecar stream cut, both live", SocketProxy: true, Do: times(6, func(s *stage) error {
		s.res.Incidents++
		s.socketProxy.Break()
		s.sleep(700 * time.Millisecond)
		return nil
	})},
	{Number: 11, Fault: "sidecar–broker cut", BrokerProxy: "sidecar", Duplicates: inFlight, Do: times(2, func(s *stage) error {
		s.incident("cut", "sidecar")
		s.network((*netfault.Proxy).Cut)
		s.sleep(3 * time.Second)
		s.network((*netfault.Proxy).Heal)
		s.sleep(1500 * time.Millisecond)
		return nil
	})},
	{Number: 12, Fault: "app–broker cut for longer than the session", BrokerProxy: "app", Duplicates: uncommitted, App: shortSession, Do: func(s *stage) error {
		s.incident("cut", "app-1")
		s.brokersProxy["app-1"].Blackhole()
		s.sleep(9 * time.Second)
		s.brokersProxy["app-1"].Heal()
		s.sleep(3 * time.Second)
		return nil
	}},
	{Number: 13, Fault: "slow broker (150 ms each way)", BrokerProxy: "both", Do: func(s *stage) error {
		s.res.Incidents++
		s.network(func(p *netfault.Proxy) { p.Delay(150 * time.Millisecond) })
		s.sleep(6 * time.Second)
		s.network((*netfault.Proxy).Heal)
		return nil
	}},
	{Number: 14, Fault: "produce reply lost after the append", BrokerProxy: "sidecar", Do: times(4, func(s *stage) error {
		s.res.Incidents++
		s.network(func(p *netfault.Proxy) { p.HalfOpen(netfault.Down) })
		s.sleep(400 * time.Millisecond)
		s.network((*netfault.Proxy).Cut)
		s.network((*netfault.Proxy).Heal)
		s.sleep(time.Second)
		return nil
	})},
	{Number: 15, Fault: "NOT_ENOUGH_REPLICAS, before and after the append; disk full", Broker: "embedded", Do: func(s *stage) error {
		for _, err := range []*kerr.Error{kerr.NotEnoughReplicas, kerr.NotEnoughReplicasAfterAppend, kerr.KafkaStorageError} {
			s.res.Incidents++
			s.dev.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: s.output, Err: err, Count: 10})
			s.sleep(2 * time.Second)
		}
		return nil
	}},
	{Number: 16, Fault: "output too large, unknown output topic, panic (with fault 21)", App: func(sp *spec) { sp.Poison = 97 }, Do: func(s *stage) error {
		s.sleep(6 * time.Second)
		return nil
	}, After: func(s *stage) error {
		s.res.Incidents = int(s.res.Inputs / 97)
		return nil
	}},
	{Number: 17, Fault: "credentials expire, ACL removed", NotHere: "these brokers have no authorizer; consumer and producer tests answer with the errors"},
	{Number: 18, Fault: "input topic deleted and recreated", NotHere: "it ends in a halt, not in counts: internal/proof/e2e and internal/proof/lab"},
	{Number: 19, Fault: "partitions added", KeysMove: true, App: func(sp *spec) { sp.Metadata = 5 * time.Second }, Do: func(s *stage) error {
		s.res.Incidents++
		if _, err := s.admin.CreatePartitions(s.ctx, 2, s.input); err != nil {
			return err
		}
		s.sleep(7 * time.Second)
		return nil
	}},
	{Number: 20, Fault: "rebalance storm: a member comes or goes every 0.5 s", Do: times(8, func(s *stage) error {
		s.res.Incidents++
		s.startApp("app-3")
		s.sleep(500 * time.Millisecond)
		return s.terminate("app-3")
	})},
	{Number: 21, Fault: "poison record, handler panic", NotHere: "with fault 16"},
	{Number: 22, Fault: "handler hangs", Duplicates: inFlight, App: func(sp *spec) { sp.Hang = sp.Name == "app-1" }, Do: hang},
	{Number: 23, Fault: "wall clock jumps", NotHere: "the clock of this machine is everybody's; internal/proof/lab runs on a clock of its own"},
	{Number: 24, Fault: "offset out of range, log truncated", NotHere: "it ends in a halt, not in counts: internal/proof/e2e"},
	{Number: 25, Fault: "slow reader of reports, full ring", NotHere: "it needs a client that is not ours: sidecar's limit tests"},
	{Number: 26, Fault: "SIGTERM: apps and sidecar restarted one by one", Do: times(2, func(s *stage) error {
		for _, name := range []string{"app-1", "app-2", "sidecar"} {
			s.res.Incidents++
			if err := s.terminate(name); err != nil {
				return err
			}
			s.again(name)
			s.sleep(900 * time.Millisecond)
		}
		return nil
	})},
	{Number: 27, Fault: "app and sidecar one version apart", NotHere: "there is one version: sidecar and producer tests speak the others"},
	{Number: 28, Fault: "fallback to direct Kafka and back", Duplicates: inFlight, App: func(sp *spec) { sp.Fallback = true }, Do: func(s *stage) error {
		s.kill("sidecar")
		s.sleep(6 * time.Second)
		s.again("sidecar")
		s.sleep(4 * time.Second)
		return nil
	}},
	{Number: 29, Fault: "the end of a transaction unanswered, its coordinator killed", ExactlyOnce: true, BrokerProxy: "sidecar", Broker: "either", Do: times(3, endLost)},
	{Number: 30, Fault: "one of three apps fenced inside shared transactions", ExactlyOnce: true, BrokerProxy: "app", Apps: 3, Alone: true, App: slowOne, Do: fencedInside},
	{Number: 31, Fault: "an operator resets the group's offsets", Duplicates: intended, Do: func(s *stage) error {
		s.sleep(2 * time.Second)
		return nil
	}, After: reset},
	{Number: 32, Fault: "gaps in the input: compaction, transaction markers", NotHere: "internal/proof/e2e and the consumer's tests make them"},
	{Number: 33, Fault: "two sidecars with one transactional id", ExactlyOnce: true, Do: times(3, twoSidecars)},
}

func times(n int, do func(*stage) error) func(*stage) error {
	return func(s *stage) error {
		for range n {
			if err := do(s); err != nil || s.ctx.Err() != nil {
				return err
			}
		}
		return nil
	}
}

// shortSession is for rows whose successor has to wait for the session timeout.
func shortSession(sp *spec) { sp.Session = 6 * time.Second }

// any names an app by chance.
func (s *stage) any() string { return fmt.Sprintf("app-%d", 1+s.rng.IntN(apps)) }

// network does something to every proxy in front of the brokers.
func (s *stage) network(fn func(*netfault.Proxy)) {
	for _, p := range s.brokersProxy {
		fn(p)
	}
}

// hang waits for the app whose handler hangs to end itself, and starts it anew without that.
func hang(s *stage) error {
	err := s.await("the watchdog to end app-1", func() error {
		if s.procs.named("app-1").Running() {
			return errNotYet
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.incident("its handler hangs", "app-1")
	s.row.App = nil
	s.again("app-1")
	s.sleep(2 * time.Second)
	return nil
}

// reset moves the group back to the beginning, as an operator does when nobody is in it, and wants
// everything once more.
func reset(s *stage) error {
	s.res.Incidents++
	s.watch.reset()
	var all kadm.Offsets
	for p := range int32(partitions) {
		all.AddOffset(s.input, p, 0, -1)
	}
	if err := s.admin.CommitAllOffsets(s.ctx, s.name, all); err != nil {
		return err
	}
	before, err := s.outputs()
	if err != nil {
		return err
	}
	s.startSidecar()
	s.startApp("app-1")
	if err := s.await("everything to be done again", func() error {
		n, err := s.outputs()
		if err == nil && n < before+int64(s.res.Inputs) {
			err = fmt.Errorf("%d of %d again", n-before, s.res.Inputs)
		}
		return err
	}); err != nil {
		return err
	}
	if err := s.terminate("app-1"); err != nil {
		return err
	}
	if err := s.terminate("sidecar"); err != nil {
		return err
	}
	after, err := s.outputs()
	if err == nil && after != before+int64(s.res.Inputs) {
		err = fmt.Errorf("%d outputs came after the reset, want every one of %d inputs once", after-before, s.res.Inputs)
	}
	return err
}

// outputs counts the records of the output topic, exactly-once those that are committed.
func (s *stage) outputs() (n int64, err error) {
	if s.ExactlyOnce { // the offsets count the ends of transactions, too
		err = reader.Topic(s.ctx, s.opts, s.output, func(*kgo.Record) { n++ })
		return n, err
	}
	ends, err := s.admin.ListEndOffsets(s.ctx, s.output)
	if err != nil {
		return 0, err
	}
	ends.Each(func(o kadm.ListedOffset) { n += o.Offset })
	return n, ends.Error()
}
