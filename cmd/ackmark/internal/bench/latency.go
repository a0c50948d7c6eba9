package bench

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/settings"
	"github.com/ackmark/ackmark/internal/proof/figures"
)

const (
	straight     = "straight" // control: the generator's records read back, nothing between
	slice        = 250 * time.Millisecond
	perSlice     = int(slice * latencyRate / time.Second)
	sliceSettles = 5 * time.Second // after which what was not seen is lost
)

// path is one way from the generator to the reader.
type path struct {
	name          string
	input, output string
	group         string
	processes     []*process
	all           []float64 // latencies in ms, without the first slice
}

// latency is the paced load: an open loop of 1,000 records a second goes through one path at a
// time, in alternated slices. All apps run all the time, and wait; nobody lingers. A record's
// latency counts from when it should have been sent, so a path that stalls the generator pays for
// it.
func (b *bench) latency(ctx context.Context) (*Latency, error) {
	ctx, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	b.progress.say("latency: starting the apps")
	paths, err := b.openPaths(ctx)
	defer func() {
		for _, p := range paths {
			for _, proc := range p.processes {
				proc.kill()
			}
			b.cluster.remove(context.WithoutCancel(ctx), p.group, p.input, p.output)
		}
	}()
	if err != nil {
		return nil, err
	}
	var outputs []string
	for _, p := range paths {
		outputs = append(outputs, p.output)
	}
	l, err := b.newLoad((latencySlices+1)*len(paths)*perSlice, outputs...)
	if err != nil {
		return nil, err
	}
	defer l.close()
	result, err := b.pace(ctx, l, paths)
	if err != nil {
		return nil, err
	}
	for _, p := range paths {
		for _, proc := range slices.Backward(p.processes) { // the app before its sidecar
			if err := proc.stop(); err != nil {
				return nil, err
			}
		}
	}
	return result, nil
}

func (b *bench) openPaths(ctx context.Context) (paths []*path, err error) {
	names := []string{straight, bare}
	if b.opts.wants(partLibrary) || !b.opts.wants(partSidecar) {
		names = append(names, library)
	}
	names = append(names, viaSidecar)
	if b.opts.wants(partExactly) {
		names = append(names, b.opts.exactlyOnce()...)
	}
	for _, name := range names {
		p := &path{name: name}
		paths = append(paths, p)
		if p.input, err = b.cluster.createTopic(ctx, "paced", b.opts.Partitions); err != nil {
			return paths, err
		}
		p.output = p.input
		if name == straight {
			continue
		}
		if p.output, err = b.cluster.createTopic(ctx, "paced-output", b.opts.Partitions); err != nil {
			return paths, err
		}
		if err := b.openPath(ctx, p); err != nil {
			return paths, err
		}
	}
	return paths, nil
}

func (b *bench) openPath(ctx context.Context, p *path) error {
	p.group = b.cluster.name("group")
	s := spec{
		Role: p.name, Brokers: b.brokers, Group: p.group, Input: p.input, Output: p.output, NoLinger: true, Concurrency: b.opts.Concurrency,
		Profile: b.profile("paced-"+p.name, 0),
	}
	s.Role, s.CommitEvery = transactions(p.name)
	if s.Role == viaSidecar {
		server, err := b.startServer(ctx, b.opts, &s, 0)
		if err != nil {
			return err
		}
		p.processes = append(p.processes, server)
	}
	app, err := b.opts.start(ctx, s)
	if err != nil {
		return err
	}
	p.processes = append(p.processes, app)
	_, err = app.await(ctx, eventAssigned)
	return err
}

// load is the generator and the reader. What is lost or repeated falls out of the times that it
// keeps of every record, so it asks no judge.
type load struct {
	producer, reader *kgo.Client
	size             int
	base             time.Time
	due              []atomic.Int64 // by sequence number: when it should be sent, nanoseconds since base
	arrived          []atomic.Int64 // when it was first read
	repeated         atomic.Int64
	failed           atomic.Pointer[error]
	reading          sync.WaitGroup
	stop             context.CancelFunc
}

// newLoad is one of so many records, which come out in these topics.
func (b *bench) newLoad(total int, outputs ...string) (*load, error) {
	opts, err := settings.KafkaOptions(b.opts.Kafka)
	if err != nil {
		return nil, err
	}
	opts = append(opts, kgo.SeedBrokers(b.brokers...), kgo.ProducerLinger(0))
	l := &load{size: b.opts.Size, base: time.Now(), due: make([]atomic.Int64, total), arrived: make([]atomic.Int64, total)}
	if l.producer, err = kgo.NewClient(opts...); err != nil {
		return nil, err
	}
	if l.reader, err = kgo.NewClient(append(opts, kgo.ConsumeTopics(outputs...), kgo.FetchIsolationLevel(kgo.ReadCommitted()))...); err != nil {
		l.producer.Close()
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	l.stop = stop
	l.reading.Go(func() { l.read(ctx) })
	return l, nil
}

func (l *load) close() {
	l.stop()
	l.reading.Wait()
	l.reader.Close()
	l.producer.Close()
}

func (l *load) read(ctx context.Context) {
	for ctx.Err() == nil {
		fetches := l.reader.PollFetches(ctx)
		now := int64(time.Since(l.base))
		fetches.EachRecord(func(r *kgo.Record) {
			if seq, ok := sequence(r.Value); ok && seq < len(l.arrived) && !l.arrived[seq].CompareAndSwap(0, now) {
				l.repeated.Add(1)
			}
		})
	}
}

// send produces sequence numbers from first on, so many a second whatever happens.
func (l *load) send(topic string, first, n, rate int) {
	text := make([]byte, l.size-seqDigits)
	for i := range text {
		text[i] = 'a' + byte(i%26)
	}
	start := time.Since(l.base) + time.Millisecond
	for i := range n {
		due := start + time.Duration(i)*time.Second/time.Duration(rate)
		time.Sleep(due - time.Since(l.base))
		l.due[first+i].Store(int64(due))
		value := append(fmt.Appendf(make([]byte, 0, l.size), "%0*d", seqDigits, first+i), text...)
		l.producer.Produce(context.Background(), &kgo.Record{Topic: topic, Key: key(first + i), Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				l.failed.CompareAndSwap(nil, &err)
			}
		})
	}
}

// collect waits until what was sent has arrived and returns the latencies in milliseconds, and how
// many were lost.
func (l *load) collect(ctx context.Context, first, n int) (ms []float64, lost int, err error) {
	poll := time.NewTicker(2 * time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(sliceSettles); ; {
		ms = ms[:0]
		for seq := first; seq < first+n; seq++ {
			if at := l.arrived[seq].Load(); at != 0 {
				ms = append(ms, float64(at-l.due[seq].Load())/1e6)
			}
		}
		if failed := l.failed.Load(); failed != nil {
			return nil, 0, fmt.Errorf("bench: the paced generator: %w", *failed)
		}
		if len(ms) == n || time.Now().After(deadline) {
			return ms, n - len(ms), nil
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return nil, 0, context.Cause(ctx)
		}
	}
}

// pace runs the slices. Round 0 warms up.
func (b *bench) pace(ctx context.Context, l *load, paths []*path) (*Latency, error) {
	var names []string
	byName := map[string]*path{}
	result := &Latency{RatePerSecond: latencyRate}
	for i, p := range paths {
		names = append(names, p.name)
		byName[p.name] = paths[i]
		result.Paths = append(result.Paths, LatencyPath{Name: p.name})
	}
	next := 0
	for round, order := range schedule(names, nil, latencySlices+1) {
		b.progress.say("latency: slice %d of %d of each path, %s at 1,000/s", round, latencySlices, slice)
		for _, name := range order {
			l.send(byName[name].input, next, perSlice, latencyRate)
			ms, lost, err := l.collect(ctx, next, perSlice)
			if err != nil {
				return nil, err
			}
			next += perSlice
			result.Lost += lost
			if round > 0 {
				result.record(slices.Index(names, name), byName[name], ms)
			}
		}
	}
	return b.concludeLatency(result, l, paths), nil
}

func (r *Latency) record(i int, p *path, ms []float64) {
	r.Paths[i].Medians = append(r.Paths[i].Medians, median(ms))
	r.Paths[i].Sent += perSlice
	r.Paths[i].Seen += len(ms)
	p.all = append(p.all, ms...)
}

func (b *bench) concludeLatency(r *Latency, l *load, paths []*path) *Latency {
	medians := map[string][]float64{}
	for i, p := range paths {
		slices.Sort(p.all)
		r.Paths[i].P50, r.Paths[i].P90, r.Paths[i].P99 = figures.Quantile(p.all, 0.5), figures.Quantile(p.all, 0.9), figures.Quantile(p.all, 0.99)
		medians[p.name] = r.Paths[i].Medians
	}
	r.Added = differences(medians[viaSidecar], medians[bare])
	r.Repeated = int(l.repeated.Load())
	for what, n := range map[string]int{"lost": r.Lost, "repeated": r.Repeated} {
		if n > 0 {
			b.result.Wrong = append(b.result.Wrong, fmt.Sprintf("latency: %d records %s", n, what))
		}
	}
	return r
}
