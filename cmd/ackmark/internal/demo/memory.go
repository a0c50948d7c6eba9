package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/childproc"
	"github.com/ackmark/ackmark/internal/proof/figures"
)

const (
	largeBytes    = 1_000_000 // of an input in the memory show; compressed a thousandth of it
	largeBatch    = 4 << 20   // inputs of one batch, decompressed: what a consumer inflates at least at once
	backlogShares = 16        // the backlog is so many times the limit
	memorySession = 10 * time.Second

	stallSettled = 2 * time.Second // the consumers have stopped fetching when they hold the same for so long
	stallLimit   = 30 * time.Second
	leakLimit    = 2 * time.Minute

	minMemoryLimit = 64 << 20
	maxMemoryLimit = 4 << 30
)

// memoryShow is the demo under a memory limit: first every handler stalls before a backlog that is
// much larger than the limit, then one leaks until it is killed, again and again.
type memoryShow struct {
	*show
	limit  *childproc.Limit
	result *memoryResult
}

// prepareMemory makes the choices of the memory show.
func (o Options) prepareMemory() (Options, error) {
	for name, set := range map[string]bool{"--input": o.Input != "", "--rate": o.Rate != 0, "--work": o.Work != 0, "--workers": o.Workers != 0} {
		if set {
			return o, &UsageError{name, "is not for --memory-limit, which makes its own inputs and handlers"}
		}
	}
	if o.MemoryLimit < minMemoryLimit || o.MemoryLimit > maxMemoryLimit {
		return o, &UsageError{"--memory-limit", fmt.Sprintf("is %d bytes; it must be %d to %d MiB", o.MemoryLimit, minMemoryLimit>>20, maxMemoryLimit>>20)}
	}
	o.Records = orDefault(o.Records, int(backlogShares*o.MemoryLimit/largeBytes))
	o.SessionTimeout = orDefault(o.SessionTimeout, memorySession)
	o.Workers, o.Work = 10, -1
	return o, nil
}

// runMemory runs the memory show and prints its result.
func runMemory(ctx context.Context, o Options, dir string) (err error) {
	if o, err = o.prepareMemory(); err != nil {
		return err
	}
	limit, err := childproc.NewLimit(o.MemoryLimit, "ackmark-demo")
	if err != nil {
		return &UsageError{"--memory-limit", err.Error()}
	}
	defer limit.Close()
	m := &memoryShow{show: &show{plan: newPlan(o, o.Records), started: time.Now()}, limit: limit}
	ctx, m.fail = context.WithCancelCause(ctx)
	defer m.fail(nil)
	if m.cluster, err = openCluster(ctx, m.plan); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.cluster.close(context.WithoutCancel(ctx))) }()
	m.prepare(nil, dir)
	m.auto, m.cluster.groups = nil, []string{m.ackmark.group}
	for _, app := range m.ackmark.apps {
		app.limit, app.spec.Large, app.spec.Stall = limit, true, true
		app.spec.MaxRecords = 0 // the default: bytes are what counts here
	}
	m.result = &memoryResult{
		Broker: m.newResult().Broker, LimitBytes: o.MemoryLimit, Mechanism: limit.Mechanism(), RecordBytes: largeBytes, Processes: o.Processes,
	}
	if err := m.run(ctx); err != nil {
		return m.explain(ctx, err)
	}
	m.result.ElapsedSeconds = seconds(time.Since(m.started))
	if err := m.print(); err != nil {
		return err
	}
	return m.result.verdict()
}

func (m *memoryShow) run(ctx context.Context) (err error) {
	m.say("%s inputs of %s bytes, compressed a thousandth of it: %s under a limit of %s a process", figures.Thousands(m.Records), figures.Thousands(largeBytes),
		mib(int64(m.Records)*largeBytes), mib(m.limit.Bytes()))
	m.say("the limit: %s", m.limit.Mechanism())
	if err := m.cluster.createTopics(ctx, m.Partitions, m.ackmark.output); err != nil {
		return err
	}
	defer m.destroy()
	if err := m.fill(ctx); err != nil {
		return err
	}
	for _, p := range m.ackmark.all() {
		if err := p.start(); err != nil {
			return err
		}
	}
	if err := m.stall(ctx); err != nil {
		return err
	}
	if m.result.Stalled.Deaths > 0 {
		return ErrOverLimit // with what is said above: there is no sense in going on
	}
	if err := m.leak(ctx); err != nil {
		return err
	}
	m.say("no leaks any more: the rest of the backlog")
	if err := m.drain(ctx); err != nil {
		return err
	}
	m.result.Problems = m.stopProcesses()
	m.result.Ackmark, err = m.judge(ctx, m.ackmark)
	return err
}

// fill writes the whole backlog before anybody reads.
func (m *memoryShow) fill(ctx context.Context) error {
	cl, err := kgo.NewClient(append(m.cluster.opts, kgo.ClientID("demo-generator"), kgo.DefaultProduceTopic(m.cluster.input),
		kgo.ProducerBatchCompression(kgo.ZstdCompression()), kgo.ProducerBatchMaxBytes(largeBatch), kgo.MaxBufferedBytes(64<<20))...)
	if err != nil {
		return err
	}
	defer cl.Close()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	for n := range m.Records {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		value := largeValue(n)
		m.gen.ledger.add(checksum(transform(head(value))))
		id := kgo.RecordHeader{Key: idHeader, Value: strconv.AppendInt(nil, int64(n), 10)}
		cl.Produce(ctx, &kgo.Record{Key: keyName(spread(n)), Value: value, Headers: []kgo.RecordHeader{id}}, func(_ *kgo.Record, err error) {
			if err != nil {
				fail(fmt.Errorf("write the backlog: %w", err))
			}
		})
	}
	if err := cl.Flush(ctx); err != nil || ctx.Err() != nil {
		return fmt.Errorf("write the backlog: %w", errors.Join(err, context.Cause(ctx)))
	}
	return nil
}

// largeValue is an order and a lot of the same, as logs and JSON are.
func largeValue(n int) []byte {
	value := bytes.Repeat([]byte("{\"item\":\"a line that looks like the others\",\"pieces\":1}\n"), largeBytes/56+1)[:largeBytes]
	copy(value, fmt.Sprintf("order %d of customer %d: ", n, spread(n)))
	return value
}

// stall lets the consumers read as much as their budgets let them, while no handler ends.
func (m *memoryShow) stall(ctx context.Context) error {
	begin, settled, last := time.Now(), time.Now(), int64(-1)
	r := &m.result.Stalled
	err := poll(ctx, 100*time.Millisecond, "the stalled consumers to stop fetching", func() (bool, error) {
		var records, held int64
		for _, p := range m.ackmark.apps {
			s, _, _ := p.snapshot()
			records, held = records+s.InFlight, held+s.HeldBytes
		}
		if records != last {
			last, settled = records, time.Now()
		}
		r.HeldRecords, r.HeldBytes, r.Deaths = records, held, m.deaths()
		if time.Since(begin) > stallLimit {
			return false, fmt.Errorf("they hold %d inputs after %s, and still fetch or have none\n%s", records, stallLimit, m.logs())
		}
		return r.Deaths > 0 || records > 0 && time.Since(settled) > stallSettled, nil
	})
	r.Seconds, r.PeakBytes = seconds(time.Since(begin)), m.limit.TakePeak()
	m.say("stalled for %.1f s: %s inputs held, %s of values; the largest process took %s of %s; %d died", r.Seconds, figures.Thousands(int(r.HeldRecords)),
		mib(r.HeldBytes), mib(r.PeakBytes), mib(m.limit.Bytes()), r.Deaths)
	return err
}

// leak makes the handlers of the first process leak until the limit has killed it as often as
// planned.
func (m *memoryShow) leak(ctx context.Context) error {
	r := &m.result.Leaking
	for i, p := range m.ackmark.apps {
		if i == 0 && m.Kills > 0 {
			p.order(orderLeak, func(s *childSpec) { s.Leak = true })
		}
		p.order(orderRelease, func(s *childSpec) { s.Stall = false })
	}
	begin, first := time.Now(), m.ackmark.apps[0]
	before, seen := m.deaths(), first.deaths()
	err := poll(ctx, 20*time.Millisecond, "a leaking process to die", func() (bool, error) {
		if n := first.deaths(); n > seen {
			seen = n
			m.say("%s leaked until it was killed; started again (%d of %d)", first.spec.Name, m.deaths()-before, m.Kills)
		}
		if time.Since(begin) > leakLimit {
			return true, nil // the verdict tells how often it died; the rest of the backlog may not have been enough
		}
		return m.deaths()-before >= m.Kills || m.drained(ctx), nil
	})
	first.order(orderMend, func(s *childSpec) { s.Leak = false })
	r.Deaths, r.Seconds, r.PeakBytes = m.deaths()-before, seconds(time.Since(begin)), m.limit.TakePeak()
	return err
}

// drained tells that there is nothing left to leak.
func (m *memoryShow) drained(ctx context.Context) bool {
	lag, err := m.cluster.lag(ctx, m.ackmark.group)
	return err == nil && lag == 0
}

func (m *memoryShow) deaths() (n int) {
	for _, p := range m.ackmark.apps {
		n += p.deaths()
	}
	return n
}

// say prints a line of progress.
func (m *memoryShow) say(format string, args ...any) {
	out := m.Stdout
	if m.JSON {
		out = m.Stderr
	}
	text := wrap(fmt.Sprintf("%.1fs ", time.Since(m.started).Seconds())+fmt.Sprintf(format, args...), 78)
	if _, err := io.WriteString(out, text); err != nil {
		m.fail(fmt.Errorf("write the progress: %w", err))
	}
}

func mib(n int64) string { return figures.Thousands(int(math.Round(float64(n)/(1<<20)))) + " MiB" }
