package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/devbroker"
	"github.com/ackmark/ackmark/internal/proof/netfault"
	"github.com/ackmark/ackmark/internal/proof/verify"
	"github.com/ackmark/ackmark/internal/proof/verify/reader"
)

// Brokers are brokers of our own that may be broken. *kafkatest.Cluster is one.
type Brokers interface {
	Kill(i int)
	Restart(i int)
	Pause(i int)
	Resume(i int)
	LeaderOf(topic string, partition int32) int
	GroupCoordinator(group string) int
}

// Env is where rows run.
type Env struct {
	// Addrs of a cluster; empty: an embedded broker.
	Addrs []string
	// Options reach it, Kafka are the same as properties, for the children.
	Options []kgo.Opt
	Kafka   map[string]string
	// Brokers, if they may be broken.
	Brokers Brokers
	// Executable and ChildArgs start a child that calls RunChild.
	Executable string
	ChildArgs  []string
	// Protocol of the rows' groups: classic by default, or the consumer protocol.
	Protocol consumer.Protocol
	// ExactlyOnce: the sidecar commits outputs and offsets in transactions. Nothing may come again
	// for a reader of committed records.
	ExactlyOnce bool
	// Rate of inputs per second; Seed of what is random.
	Rate int
	Seed uint64
	// Rows to run; empty: all.
	Rows []int
	// Progress gets a line for each row.
	Progress io.Writer

	seed   uint64
	addrs  []string
	opts   []kgo.Opt
	client *kgo.Client
	admin  *kadm.Client
	dev    *devbroker.Broker
}

type randSource = rand.Rand

// RowError is a fault that there is not.
type RowError struct{ Row int }

// Error implements error.
func (e *RowError) Error() string {
	last := slices.MaxFunc(Rows, func(a, b Row) int { return a.Number - b.Number })
	return fmt.Sprintf("--faults has %d; the faults of docs/faults.md are 1 to %d", e.Row, last.Number)
}

// ErrBroken tells that a promise was broken.
var ErrBroken = errors.New("chaos: a promise was broken, see the table")

// Open connects to the cluster, or starts the embedded broker.
func (e *Env) Open(ctx context.Context) (err error) {
	if e.Rate == 0 {
		e.Rate = 1000
	}
	if e.Protocol == 0 {
		e.Protocol = consumer.ClassicProtocol
	}
	if e.Progress == nil {
		e.Progress = io.Discard
	}
	for _, n := range e.Rows {
		if !slices.ContainsFunc(Rows, func(r Row) bool { return r.Number == n }) {
			return &RowError{n}
		}
	}
	e.seed, e.addrs = e.Seed, e.Addrs
	if len(e.addrs) == 0 {
		if e.dev, err = devbroker.Start(devbroker.Config{Partitions: partitions, RetentionBytes: -1, Logger: slog.New(slog.DiscardHandler)}); err != nil {
			return err
		}
		e.addrs = e.dev.Addrs()
	}
	e.opts = append(slices.Clone(e.Options), kgo.SeedBrokers(e.addrs...), kgo.ClientID("chaos"))
	if e.ExactlyOnce {
		e.opts = append(e.opts, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	if e.client, err = kgo.NewClient(append(slices.Clone(e.opts), kgo.ProducerLinger(0))...); err != nil {
		e.closeBroker()
		return err
	}
	e.admin = kadm.NewClient(e.client)
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if _, err := e.admin.BrokerMetadata(ctx); err != nil {
		e.Close()
		return fmt.Errorf("chaos: no broker answered at %s within 10s: %w", strings.Join(e.addrs, ","), err)
	}
	if err := e.lacks(ctx); err != nil {
		e.Close()
		return err
	}
	return nil
}

func (e *Env) closeBroker() {
	if e.dev != nil {
		e.dev.Close()
	}
}

// Close undoes Open.
func (e *Env) Close() {
	e.client.Close()
	e.closeBroker()
}

// sideBySide is how many rows run at the same time, if they do nothing to the brokers: most of a
// row is waiting.
const sideBySide = 2

// Run runs the rows and returns what they showed, in the order of the table. The error is
// ErrBroken, or why it could not go on.
func (e *Env) Run(ctx context.Context) ([]Result, error) {
	var rows []*Row
	for i := range Rows {
		if len(e.Rows) == 0 || slices.Contains(e.Rows, Rows[i].Number) {
			rows = append(rows, &Rows[i])
		}
	}
	all := make([]Result, len(rows))
	var mu sync.Mutex
	do := func(i int) {
		r := e.one(ctx, rows[i])
		mu.Lock()
		defer mu.Unlock()
		all[i] = r
		if ctx.Err() == nil {
			fmt.Fprintf(e.Progress, "%2d  %-60s %-8s %s\n", r.Row, r.Fault, r.Verdict, r.Why)
		}
	}
	var group errgroup.Group
	group.SetLimit(sideBySide)
	for i, row := range rows {
		if row.Broker == "" && !row.Alone {
			group.Go(func() error { do(i); return nil })
		}
	}
	_ = group.Wait()
	for i, row := range rows {
		if row.Broker != "" || row.Alone {
			do(i)
		}
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	for _, r := range all {
		if r.Verdict == Broken {
			return all, ErrBroken
		}
	}
	return all, nil
}

// one runs a row in a fresh place.
func (e *Env) one(ctx context.Context, row *Row) (r Result) {
	begun := time.Now()
	r = Result{Row: row.Number, Fault: row.Fault, Protocol: e.Protocol}
	if why := row.missing(e); why != "" {
		r.Verdict, r.Why = NotHere, why
		return r
	}
	dir, err := os.MkdirTemp("", "ackmark-chaos-")
	if err != nil {
		r.Verdict, r.Why = Broken, err.Error()
		return r
	}
	defer func() {
		if r.Verdict == Kept || ctx.Err() != nil { // nobody asks why an interrupted row broke
			_ = os.RemoveAll(dir)
			return
		}
		r.Details += "\nlogs of the processes: " + dir
	}()
	name := "ackmark-chaos-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	own := *row // a row may change its mind about its apps
	s := &stage{Env: e, row: &own, dir: dir, name: name, input: name + "-in", output: name + "-out", dead: name + "-dead",
		brokersProxy: map[string]*netfault.Proxy{},
		rng:          rand.New(rand.NewPCG(e.seed, uint64(row.Number))), res: r}
	s.ctx, s.fail = context.WithCancelCause(ctx)
	defer s.close()
	if err = s.play(); err != nil {
		s.res.Why = err.Error()
	}
	if s.watch != nil {
		s.watch.fill(&s.res)
		if row.Takeover && len(s.res.Takeovers) == 0 && s.res.Why == "" {
			s.res.Why = "no partition of a killed process was taken over, so nothing is measured"
		}
	}
	s.transactions.fill(&s.res)
	s.res.judge()
	if refused, ok := errors.AsType[*SessionError](err); ok {
		s.res.Verdict, s.res.Why = NotHere, refused.Error()
	}
	if s.res.Verdict == Broken {
		s.res.Details = s.logs()
	}
	s.res.Took = time.Since(begun)
	return s.res
}

// play is the row from the first process to the counts.
func (s *stage) play() error {
	if err := s.open(); err != nil {
		return err
	}
	if err := s.row.Do(s); err != nil {
		return err
	}
	if err := context.Cause(s.ctx); err != nil {
		return err
	}
	inputs, err := s.feed.Finish()
	if err != nil {
		return fmt.Errorf("the feed: %w", err)
	}
	s.res.Inputs = inputs
	if err := s.caughtUp(inputs); err != nil {
		return errors.Join(err, s.count(inputs))
	}
	for _, name := range slices.Sorted(maps.Keys(s.procs.all())) { // the sidecar last: "app-…" sorts before it
		if s.procs.named(name).Running() {
			if err := s.terminate(name); err != nil {
				return err
			}
		}
	}
	if s.row.After != nil {
		if err := s.row.After(s); err != nil {
			return err
		}
	}
	return s.count(inputs)
}

// count reads the outputs with a reader of its own.
func (s *stage) count(inputs uint64) error {
	dead := letters{}
	if err := reader.Topic(s.ctx, s.opts, s.dead, func(r *kgo.Record) { dead.add(r.Value) }); err != nil {
		return err
	}
	out := verify.NewOutputs(verify.OutputsConfig{Name: "ackmark", Inputs: inputs, Expect: func(id uint64) int {
		if dead[id] > 0 {
			return 0
		}
		return 1
	}})
	if err := reader.Topic(s.ctx, s.opts, s.output, func(r *kgo.Record) { out.Add(r.Partition, r.Offset, r.Key, r.Value) }); err != nil {
		return err
	}
	got := out.Result()
	s.res.saw(got, dead)
	if s.row.KeysMove {
		s.res.Reordered, s.res.Split = 0, 0
	}
	if n := got.Unknown + got.Corrupt; n > 0 {
		return fmt.Errorf("%d outputs are none of an input: %s", n, got.Details())
	}
	if s.ExactlyOnce && s.row.Duplicates != intended {
		s.res.BoundSays = "0 (exactly-once)"
		return nil
	}
	s.res.superseded = int(s.procs.named("sidecar").vitals().Superseded)
	s.res.Bound, s.res.BoundSays = s.row.bound(&s.res)
	return nil
}

// incident notes what is about to be done to a process, and how much it has in hand.
func (s *stage) incident(what, name string) {
	s.res.Incidents++
	_, handled := s.tail.counts()
	var held, since int64
	for n, p := range s.procs.all() {
		if !isSidecar(n) && (n == name || name == "sidecar" || name == "") {
			v := p.vitals()
			held, since = held+v.InFlight, since+v.Since
		}
	}
	slack := int64(s.rate()) / 4 // the vitals are up to 100 ms old, and a machine is busy
	// Who reads the outputs may be behind on a busy machine, and so may who tells of itself.
	s.res.costs = append(s.res.costs, cost{held + slack, max(since, s.uncommitted(handled)) + slack})
	if s.watch != nil && name != "" && !isSidecar(name) && strings.HasPrefix(what, "SIGKILL") {
		s.watch.killed(processName(name, s.procs.named(name).Pid()))
	}
}

// uncommitted is how many handled inputs are not committed.
func (s *stage) uncommitted(handled int) int64 {
	ctx, cancel := context.WithTimeout(s.ctx, time.Second)
	defer cancel()
	have, err := s.admin.FetchOffsets(ctx, s.name)
	if err != nil {
		return int64(s.rate()) // a commit interval
	}
	var sum int64
	for _, o := range have[s.input] {
		sum += o.At
	}
	return max(0, int64(handled)-sum)
}
