package producer

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/ackmark/ackmark/internal/budget"
	"github.com/ackmark/ackmark/internal/configerr"
	"github.com/ackmark/ackmark/internal/outlet"
	"github.com/ackmark/ackmark/internal/storm"
	"github.com/ackmark/ackmark/internal/telemetry"
	"github.com/ackmark/ackmark/internal/tracing"
	"github.com/ackmark/ackmark/producer/internal/tally"
	"github.com/ackmark/ackmark/producer/internal/unit"
)

// DirectConfig configures [Direct]. Zero fields mean the defaults named.
type DirectConfig struct {
	// Brokers are the addresses to start from, host:port. Required unless Options has
	// kgo.SeedBrokers.
	Brokers []string
	// Options are your own: TLS, SASL, linger, compression … Those that would break a promise are
	// refused by name.
	Options []kgo.Opt
	// MaxBufferedBytes bounds keys, values and headers that are accepted and not reported. Default:
	// a quarter of the memory limit (8 to 256 MiB; 64 MiB without a limit). One call to Deliver
	// that is larger passes alone.
	MaxBufferedBytes int64
	// MaxBufferedRecords bounds the records that are accepted and not reported. Default 100,000.
	MaxBufferedRecords int
	// OnFull chooses what a full producer does. Default [Block].
	OnFull OnFull
	// CloseTimeout is how long Close waits for what is on its way. Default 10 s.
	CloseTimeout time.Duration
	// TransactionalID has outputs and the offsets of their inputs committed together, in Kafka
	// transactions: exactly-once, see [Committer] and pipeline.Config.Mode. Processes that run at
	// the same time need one each, and each the same one again when it is started again: by it,
	// what the process before it has left open is ended. The ids that Kafka sees begin with it and
	// a dash. They are taken by CommitUnits, or by the first record without an input: not before,
	// nor by Check. TracerProvider is not used then.
	TransactionalID string
	// CommitEvery is the time between two transactions while there is something to commit. Default
	// 100 ms; 5 ms to 1 s. Only with TransactionalID.
	CommitEvery time.Duration
	// TransactionTimeout is after how long the brokers abort a transaction of a process that does
	// not answer. Default 15 s. Only with TransactionalID.
	TransactionTimeout time.Duration
	// TracerProvider makes a span of each record that carries a sampled trace context, and of each
	// that is emitted under a sampled span. Default: none, at no cost.
	TracerProvider trace.TracerProvider
	// MeterProvider gets the metrics of docs/metrics.md. Default: none, at no cost.
	MeterProvider metric.MeterProvider
	// Logger is the log. Default slog.Default().
	Logger *slog.Logger

	kafka *telemetry.Kafka // follows the Kafka client; nil: nobody does
	app   string           // whose records they are, where that is known: for metrics
}

func (c DirectConfig) withDefaults() DirectConfig {
	if c.MaxBufferedBytes == 0 {
		c.MaxBufferedBytes = budget.DefaultBytes()
	}
	if c.MaxBufferedRecords == 0 {
		c.MaxBufferedRecords = 100_000
	}
	if c.CloseTimeout == 0 {
		c.CloseTimeout = 10 * time.Second
	}
	c.Logger = storm.Counted(c.Logger)
	return c
}

// directConfig is how errors name the type.
const directConfig = "producer.DirectConfig"

func (c DirectConfig) validate() error {
	wrong := configerr.For(directConfig)
	wrong.If(c.MaxBufferedBytes < 0, "MaxBufferedBytes", c.MaxBufferedBytes, "a number of bytes, or 0 for the default")
	wrong.If(c.MaxBufferedRecords < 0, "MaxBufferedRecords", c.MaxBufferedRecords, "a number of records, or 0 for the default")
	wrong.If(c.CloseTimeout < 0, "CloseTimeout", c.CloseTimeout, "a duration, or 0 for the default of 10s")
	c.OnFull.validate(wrong)
	c.validateTransactions(wrong)
	return wrong.Err()
}

// Direct returns a producer of the process's own: one idempotent Kafka client, acks=all, the
// partition chosen from the key by murmur2 as the Java client and the sidecar do. It connects on
// first use; an invalid configuration is returned by every call and by Check.
func Direct(cfg DirectConfig) Producer {
	if cfg.TransactionalID != "" {
		return newTransactional(cfg)
	}
	return newDirect(cfg)
}

func newDirect(cfg DirectConfig) *direct { return newDirectTelling(cfg, func(*telemetry.Reading) {}) }

// newDirectTelling tells more than others of itself.
func newDirectTelling(cfg DirectConfig, tells func(*telemetry.Reading), rows ...*telemetry.Metric) *direct {
	cfg = cfg.withDefaults()
	d := &direct{cfg: cfg, tracer: tracing.New(cfg.TracerProvider), wake: make(chan struct{}, 1), left: make(chan struct{})}
	d.closing, d.close = context.WithCancelCause(context.Background())
	if err := cfg.validate(); err != nil {
		d.broken = invalidConfig(err)
		return d
	}
	if d.counts = newCounts(cfg.MeterProvider, telemetry.Directly, cfg.app, func(_ *counts, r *telemetry.Reading) { tells(r) }, rows...); d.counts != nil {
		d.cfg.kafka = d.counts.kafka
	}
	d.budget = budget.New(budget.Config{Bytes: cfg.MaxBufferedBytes, Records: cfg.MaxBufferedRecords, LowPercent: 100})
	return d
}

func invalidConfig(err error) *Error {
	return &Error{Code: CodeInvalidConfig, Message: strings.TrimPrefix(err.Error(), "producer: "), Partition: -1, Err: err}
}

// direct is the producer over an own kgo client.
//
// Goroutines: callers produce; the outlet's promises (two at a time at most) count units down in
// finish; reportLoop, started with the outlet and awaited by Close, is the only one that calls
// Reporters. So the clients' goroutines never wait for a Reporter, and the reports of all
// partitions of a call are coalesced, which in the promise they could not be: neighbours of a call
// go to different partitions.
type direct struct {
	cfg     DirectConfig
	tracer  *tracing.Tracer
	counts  *counts
	budget  *budget.Budget
	closing context.Context // ends with ErrClosed
	close   context.CancelCauseFunc
	outlet  atomic.Pointer[outlet.Outlet]
	lingers lingers
	loop    sync.WaitGroup

	mu       sync.Mutex
	broken   *Error // configuration error
	closed   bool
	active   int           // calls between enter and leave
	left     chan struct{} // closed when closed and active == 0
	tally    tally.Tally
	assigned assignments
	dropped  int // units failed by Close

	// The calls with something to report.
	dirtyMu sync.Mutex
	dirty   []*call
	wake    chan struct{} // capacity 1: reportLoop has work
}

// start creates the client once.
func (d *direct) start() (*outlet.Outlet, error) {
	if out := d.outlet.Load(); out != nil {
		return out, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch out := d.outlet.Load(); {
	case out != nil:
		return out, nil
	case d.broken != nil:
		return nil, d.broken
	case d.closed:
		return nil, errClosed()
	}
	out, err := newDirectOutlet(d.cfg)
	if err != nil {
		d.broken = invalidConfig(err)
		return nil, d.broken
	}
	d.lingers.begin(out.Client())
	d.outlet.Store(out)
	d.loop.Go(d.reportLoop)
	return out, nil
}

// acquire takes space for a call, by the rule of OnFull.
func (d *direct) acquire(ctx context.Context, c unit.Cost) error {
	if d.closing.Err() != nil {
		return errClosed()
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if d.budget.TryAcquire(c.Bytes, c.Records) {
		return nil
	}
	if d.cfg.OnFull == Refuse {
		bytes, records := d.budget.Used()
		return (*Error)(unit.Full(fmt.Sprintf("%d bytes and %d records are on their way (limits %d and %d)",
			bytes, records, d.cfg.MaxBufferedBytes, d.cfg.MaxBufferedRecords)))
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(d.closing, func() { cancel(ErrClosed) })()
	defer d.counts.wait(forBuffer, time.Now())
	err := d.budget.Acquire(ctx, c.Bytes, c.Records)
	if err != nil && d.closing.Err() != nil {
		return errClosed()
	}
	return err
}

// enter admits a call of n units; false: closed. Close waits for leave, so that nothing is handed
// to a closed client.
func (d *direct) enter(n int) (*tally.Batch, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, false
	}
	d.active++
	return d.tally.Add(n), true
}

func (d *direct) leave() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.active--
	if d.closed && d.active == 0 {
		close(d.left)
	}
}

// settle takes reported units off the books.
func (d *direct) settle(b *tally.Batch, t settled) {
	if t.Cost != (unit.Cost{}) {
		d.budget.Release(t.Bytes, t.Records)
	}
	d.mu.Lock()
	d.tally.Remove(b, t.units)
	d.dropped += t.dropped
	d.mu.Unlock()
}

// Assign implements Producer. Kafka does not need to know; it is kept to tell released epochs from
// live ones.
func (d *direct) Assign(_ context.Context, m Membership, added []Assignment) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return errClosed()
	}
	d.assigned.announce(m, added)
	return nil
}

// Release implements Producer. A record that was handed to kgo cannot be taken back, so everything
// on its way is awaited.
func (d *direct) Release(ctx context.Context, list []uint64) error {
	d.mu.Lock()
	gone := d.assigned.Release(list)
	d.mu.Unlock()
	if len(gone) == 0 {
		return nil
	}
	return d.Flush(ctx)
}

// Flush implements Producer.
func (d *direct) Flush(ctx context.Context) error {
	d.mu.Lock()
	open := d.tally.Seal()
	d.mu.Unlock()
	if len(open) == 0 {
		return nil
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	unlinger, stop := context.WithCancel(ctx)
	defer stop()
	// kgo's own Flush also waits for what others produce meanwhile: it only ends the linger here,
	// the tally says when we are done.
	wg.Go(func() { _ = d.outlet.Load().Flush(unlinger) })
	return tally.Await(ctx, open)
}

// Check implements Producer.
func (d *direct) Check(ctx context.Context) error {
	out, err := d.start()
	if err != nil {
		return err
	}
	cl := out.Client()
	if d.closing.Err() != nil {
		return errClosed()
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := cl.Ping(ctx); err != nil {
		return noBrokerAnswered(cl, err)
	}
	return nil
}

func noBrokerAnswered(cl *kgo.Client, err error) error {
	seeds, _ := cl.OptValue(kgo.SeedBrokers).([]string)
	return fmt.Errorf("producer: no broker of %v answered: %w; check the addresses, that Kafka runs, and the TLS and SASL settings", seeds, err)
}

// Close implements Producer.
func (d *direct) Close() error {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return nil
	}
	d.closed = true
	if d.active == 0 {
		close(d.left)
	}
	d.mu.Unlock()
	defer storm.End(d.cfg.Logger)
	defer d.counts.end()
	d.close(ErrClosed)
	<-d.left // no produce loop runs any more; none of them blocks

	out := d.outlet.Load()
	if out == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), d.cfg.CloseTimeout)
	defer cancel()
	_ = d.Flush(ctx) // what is left over is counted below
	out.Close()      // fails the rest
	d.mu.Lock()
	open := d.tally.Seal()
	d.mu.Unlock()
	_ = tally.Await(context.Background(), open)
	d.notify() // reportLoop sees closing and an empty list
	d.loop.Wait()
	return d.leftOver()
}

// leftOver names what Close had to give up.
func (d *direct) leftOver() error {
	if d.dropped > 0 {
		return fmt.Errorf("%w with %d units not acknowledged after CloseTimeout (%v): their inputs stay uncommitted",
			ErrClosed, d.dropped, d.cfg.CloseTimeout)
	}
	return nil
}
