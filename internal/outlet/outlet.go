package outlet

import (
	"context"
	"log/slog"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/ackmark/ackmark/internal/kgoopt"
)

// Config of an outlet.
type Config struct {
	// Options are those of both clients: brokers, TLS, SASL, compression, acks.
	Options []kgo.Opt
	// Usual are the options of the usual client alone, such as its linger and hooks that follow
	// records.
	Usual []kgo.Opt
	// Partitioner chooses for records that do not name their partition.
	Partitioner kgo.Partitioner
	// MaxRecordBytes is the largest record that is tried, before compression.
	MaxRecordBytes int32
	// Placed is told of a record that is given its partition past the usual client, whose hooks do
	// not see it. Locks are held: it must not block. Nil: nobody.
	Placed func(r *Rec, partition int32)
	// Resend is asked before a record that came back, or had to wait, is sent; an error is its fate
	// then. Nil: always.
	Resend func(*Rec) error
	// Retried hears of each batch that a broker refused for a reason that passes, or did not
	// answer: the client sends it again. Nil: nobody.
	Retried func(topic string, err error)
	// Again: somebody asks for [Rec.Again].
	Again bool
	// Log gets a line for each partition that is repaired.
	Log *slog.Logger
}

const (
	// goneFor is how long records wait for a topic that was there and is not any more: one that is
	// created anew is gone for a moment.
	goneFor    = 30 * time.Second
	goneRetry  = 500 * time.Millisecond
	flushEvery = 10 * time.Millisecond // looks at a repair
)

// Outlet is a producer. Produce may be called from any goroutine.
type Outlet struct {
	cfg               Config
	usual             *kgo.Client
	other             func() (*kgo.Client, error) // makes the second client when it is first needed
	promise           func(*kgo.Record, error)
	repeat            func(*kgo.Record, error) // the second client's
	base              func(string) int32       // the owner's own bound of batches
	repairs           atomic.Int32             // partitions under repair
	alone             atomic.Int64             // large records without an order, on their way
	waiting           atomic.Int64             // records that wait for those before them to be given a place
	closed            atomic.Bool
	made              atomic.Bool // the second client
	tries, triesAgain *tries      // of the two clients; nil: nobody asks
	wg                sync.WaitGroup

	mu     sync.Mutex
	topics map[string]*Topic
	broken map[*part]struct{} // under repair
}

// New makes an outlet. It does not connect.
func New(cfg Config) (*Outlet, error) {
	o := &Outlet{cfg: cfg, topics: map[string]*Topic{}, broken: map[*part]struct{}{}}
	o.promise, o.repeat = o.promised, o.promisedAgain
	probe, err := kgoopt.Probe(slices.Concat(cfg.Options, cfg.Usual))
	if err != nil {
		return nil, err
	}
	defer probe.Close()
	o.base, _ = probe.OptValue(kgo.ProducerBatchMaxBytesFn).(func(string) int32)
	shared := append(slices.Clone(cfg.Options),
		kgo.MaxBufferedRecords(math.MaxInt32), // the owner bounds what is on its way
		kgo.MaxVersions(byName(probe)),
	)
	o.tries = o.listen(&shared, probe, o.refused)
	o.usual, err = kgo.NewClient(slices.Concat(shared, cfg.Usual, []kgo.Opt{
		kgo.RecordPartitioner(partitioner{cfg.Partitioner}),
		kgo.ProducerBatchMaxBytesFn(o.batchLimit),
		kgo.WithHooks(entering{}),
	})...)
	if err != nil {
		return nil, err
	}
	second := append(slices.Clone(cfg.Options),
		kgo.MaxBufferedRecords(math.MaxInt32), kgo.MaxVersions(byName(probe)),
		kgo.RecordPartitioner(partitioner{cfg.Partitioner}),
		kgo.ProducerLinger(0),
		kgo.ProducerBatchMaxBytes(max(512, cfg.MaxRecordBytes)),
		kgo.BrokerMaxWriteBytes(max(100<<20, cfg.MaxRecordBytes+(1<<20))),
	)
	o.triesAgain = o.listen(&second, probe, o.refusedAgain)
	o.other = sync.OnceValues(func() (*kgo.Client, error) {
		o.made.Store(true)
		return kgo.NewClient(second...)
	})
	return o, nil
}

// byName are the versions that the owner asked for, with the topics of produce requests named and
// not identified: responses tell then, by themselves, which partition was refused.
func byName(probe *kgo.Client) *kversion.Versions {
	const produce, named = 0, 12
	versions, _ := probe.OptValue(kgo.MaxVersions).(*kversion.Versions)
	if versions == nil {
		versions = kversion.Stable()
	}
	capped := new(kversion.Versions) // the owner's may be shared with other clients
	versions.EachMaxKeyVersion(func(key, most int16) {
		if key == produce {
			most = min(most, named)
		}
		capped.SetMaxKeyVersion(key, most)
	})
	return capped
}

// listen adds to a client's options what its connections are looked at with.
func (o *Outlet) listen(opts *[]kgo.Opt, probe *kgo.Client, refused func(refusal)) *tries {
	l := &listener{refused: refused, retried: o.cfg.Retried, closing: o.closed.Load}
	if o.cfg.Again {
		l.tries = newTries(true)
	}
	*opts = append(*opts, l.options(probe)...)
	return l.tries
}

// options have a client's connections listened to.
func (l *listener) options(probe *kgo.Client) []kgo.Opt {
	dial, ok := probe.OptValue(kgo.Dialer).(dialFunc)
	if !ok {
		return nil
	}
	return []kgo.Opt{kgo.DialTLSConfig(nil), kgo.Dialer(l.dialer(dial))} // TLS is in it
}

// Listener hears what a client with transactions sends again, which is not an outlet's.
type Listener struct {
	// Retried hears of each batch.
	Retried func(topic string, err error)
	// Again hears of each record of such a batch that Kafka has taken, just before its promise.
	// Nil: nobody.
	Again func(*kgo.Record)
	// Closing: the client is being closed, and sends nothing again.
	Closing func() bool
}

// Options are to be added to the client's own.
func (of Listener) Options(own []kgo.Opt) ([]kgo.Opt, error) {
	probe, err := kgoopt.Probe(own)
	if err != nil {
		return nil, err
	}
	defer probe.Close()
	l := &listener{retried: of.Retried, names: newTopicNames(), closing: of.Closing}
	var hook []kgo.Opt
	if of.Again != nil {
		l.tries = newTries(false)
		hook = append(hook, kgo.WithHooks(telling{l.tries, of.Again}))
	}
	return append(l.options(probe), hook...), nil
}

// Client is the usual client, for requests. Records go through Produce only.
func (o *Outlet) Client() *kgo.Client { return o.usual }

// Produce hands a record over; it does not block. Records of one partition, or key, that a
// goroutine hands over are written in that order.
func (o *Outlet) Produce(r *Rec) {
	// What does not change is not written: pooled records come here again and again, and each
	// pointer that is written costs while the garbage collector runs.
	r.placed, r.stamp = false, 0
	if r.again {
		r.again = false
	}
	if !r.Explicit && r.Partition != -1 {
		r.Partition = -1 // until it has one
	}
	if (o.repairs.Load() != 0 || r.To.large(r)) && o.detour(r) {
		return
	}
	o.hand(r)
}

// hand hands a record to the usual client.
func (o *Outlet) hand(r *Rec) {
	if r.foreign {
		r.Context, r.foreign = unstamped, false
	}
	if r.first = !r.To.loaded.Load(); r.first {
		r.To.unplaced.Add(1)
	}
	o.usual.Produce(unstamped, &r.Record, o.promise)
}

// detour takes a record past the usual client: into the repair of its partition, which a record
// that is too large for the usual client begins.
func (o *Outlet) detour(r *Rec) bool {
	large := r.To.large(r)
	if r.To.waits.Load() || large && r.To.unplaced.Load() != 0 {
		if r.To.wait(r) {
			return true
		}
	}
	return o.around(r, large)
}

// around is detour for a record that waits for no other.
func (o *Outlet) around(r *Rec, large bool) bool {
	if !large && r.To.unplaced.Load() != 0 {
		return false // behind those, it is stamped when it is given its place
	}
	id, ordered := r.To.place(r)
	if !ordered {
		if large {
			o.alone.Add(1)
			o.send(r) // nothing has to come before it, or after
		}
		return large
	}
	p := r.To.part(id)
	p.mu.Lock()
	if p.mend == nil && !large {
		p.mu.Unlock()
		return false
	}
	if large {
		o.refresh(r.To)
	}
	p.begin()
	stamp := p.mend.stamp()
	o.placedPast(r, id)
	r.put(id)
	r.stamp = stamp
	p.mend.cameBack(stamp, r)
	ends := p.step()
	p.mu.Unlock()
	o.end(ends)
	return true
}

func (o *Outlet) placedPast(r *Rec, partition int32) {
	if o.cfg.Placed != nil {
		o.cfg.Placed(r, partition)
	}
}

// send hands a record to the second client.
func (o *Outlet) send(r *Rec) {
	other, err := o.other()
	if err != nil {
		o.wg.Go(func() { o.repeat(&r.Record, err) }) // its partition's lock may be held here
		return
	}
	ctx := context.Background()
	if p := r.part(); p != nil {
		ctx = (*halting)(p)
	}
	r.Context, r.foreign = ctx, true
	other.Produce(ctx, &r.Record, o.repeat)
}

// promised is the usual client's promise.
func (o *Outlet) promised(kr *kgo.Record, err error) {
	r := recOf(kr)
	if err == nil && o.tries.took(kr) {
		r.again = true
	}
	p := r.part()
	if p != nil {
		o.placed(r, p, r.stamp, err)
		return
	}
	to, first := r.To, r.first
	o.notPlaced(r, err)
	if first {
		to.hasPlace() // behind it: who is handed over next may be sent at once
	}
}

// notPlaced takes a record that the usual client gave no place in a partition. If it was about to,
// or forgot the topic before, the record is sent again.
func (o *Outlet) notPlaced(r *Rec, err error) {
	if isNew(err) {
		r.To.known.Store(true)
	}
	if !recreated(err) || !r.To.known.Load() {
		r.Promise(&r.Record, err)
		return
	}
	if o.closed.Load() {
		r.Promise(&r.Record, kgo.ErrClientClosed)
		return
	}
	id, ordered := r.Partition, r.Partition >= 0
	if !ordered {
		id, ordered = r.To.place(r)
	}
	if !ordered {
		if err := o.resend(r); err != nil {
			r.Promise(&r.Record, err)
			return
		}
		o.alone.Add(1)
		o.send(r)
		return
	}
	p := r.To.part(id)
	o.placedPast(r, id)
	r.put(id)
	p.entered.Add(1) // it leaves at once
	o.end(p.back(r, 0, err))
}

func (o *Outlet) placed(r *Rec, p *part, stamp uint64, err error) {
	if err == nil && !r.To.known.Load() {
		r.To.known.Store(true)
	}
	if err == nil && !p.mending.Load() {
		if stamp == 0 {
			p.left.Add(1)
		}
		r.Promise(&r.Record, nil)
		return
	}
	o.end(p.back(r, stamp, err))
}

// promisedAgain is the second client's promise.
func (o *Outlet) promisedAgain(kr *kgo.Record, err error) {
	r := recOf(kr)
	if err == nil && o.triesAgain.took(kr) {
		r.again = true
	}
	p := r.part()
	if p == nil {
		r.Promise(kr, err)
		o.alone.Add(-1)
		return
	}
	o.end(p.endedAgain(r, err))
}

// end tells the owner. No lock is held: it may do anything but block.
func (o *Outlet) end(ends []fate[*Rec]) {
	for _, f := range ends {
		f.rec.Promise(&f.rec.Record, f.err)
	}
}

// refused hears of a refusal before the usual client does.
func (o *Outlet) refused(r refusal) {
	if p := o.known(r); p != nil {
		o.end(p.mark(r))
	}
}

// refusedAgain hears of a refusal before the second client does.
func (o *Outlet) refusedAgain(r refusal) {
	if p := o.known(r); p != nil {
		p.said(r)
	}
}

func (o *Outlet) known(r refusal) *part {
	o.mu.Lock()
	t := o.topics[r.topic]
	o.mu.Unlock()
	if t == nil {
		return nil
	}
	parts := *t.parts.Load()
	if r.partition < 0 || int(r.partition) >= len(parts) {
		return nil
	}
	return parts[r.partition]
}
