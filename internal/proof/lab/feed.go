package lab

import (
	"hash/fnv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/proof/verify"
)

// feeder writes inputs. Its network is never touched; its retries are its own.
type feeder struct {
	l      *Lab
	client *kgo.Client
	turn   chan *verify.Generator // held across the network, hence no mutex
	slow   sync.WaitGroup
}

// feederMetadata is how long the feeder may not know about new partitions.
const feederMetadata = 5 * time.Second

func newFeeder(l *Lab) *feeder {
	f := &feeder{l: l, turn: make(chan *verify.Generator, 1)}
	f.connect()
	f.turn <- verify.NewGenerator(verify.GeneratorConfig{Seed: l.cfg.Seed, Keys: l.cfg.Keys})
	return f
}

func (f *feeder) connect() {
	f.client = f.l.Client("feeder", kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0), kgo.MetadataMinAge(time.Second),
		kgo.MetadataMaxAge(feederMetadata))
}

// again begins anew with a topic that was created again.
func (f *feeder) again() {
	g := <-f.turn
	f.client.Close()
	f.connect()
	f.turn <- g
}

func (f *feeder) close() {
	f.slow.Wait()
	f.client.Close()
}

func (f *feeder) wait() { f.slow.Wait() }

// feed writes n inputs and waits for them. The partition follows from the key, and from how many
// partitions there are.
func (f *feeder) feed(n int) {
	if n == 0 {
		return
	}
	g := <-f.turn
	defer func() { f.turn <- g }()
	ctx, cancel := f.l.context()
	defer cancel()
	partitions := uint32(len(f.l.Cluster.PartitionInfos(In)))
	records := make([]*kgo.Record, n)
	for i := range records {
		in := g.Next()
		h := fnv.New32a()
		_, _ = h.Write(in.Key)
		records[i] = &kgo.Record{Topic: In, Partition: int32(h.Sum32() % partitions), Key: in.Key, Value: in.Value}
	}
	if err := f.client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		f.l.problem("feeding: %v", err)
	}
}

// Feed writes n inputs and returns when the brokers have them.
func (l *Lab) Feed(n int) { l.feeder.feed(n) }

// FeedOver writes n inputs, evenly over a time, beside what the test does. Idle and the lab's end
// wait for it.
func (l *Lab) FeedOver(n int, d time.Duration) {
	steps := int(min(max(1, d/(20*time.Millisecond)), time.Duration(n)))
	l.feeder.slow.Go(func() {
		for i := range steps {
			l.Feed(n*(i+1)/steps - n*i/steps)
			time.Sleep(d / time.Duration(steps))
		}
	})
}

// Client returns a client of the brokers with a network of its own; the caller closes it.
func (l *Lab) Client(name string, opts ...kgo.Opt) *kgo.Client {
	cl, err := kgo.NewClient(append(l.options(l.host(name)), opts...)...)
	if err != nil {
		l.T.Fatal(err)
	}
	return cl
}

func (l *Lab) options(h *host) []kgo.Opt {
	return []kgo.Opt{kgo.SeedBrokers(brokers...), kgo.Dialer(h.dial), kgo.DisableClientMetrics()}
}

var brokers = []string{"localhost:9092", "localhost:9093", "localhost:9094"}

// Settle lets the rebalances of apps that just started pass: a hand-over repeats what was done out
// of order above the ack mark.
func (l *Lab) Settle() { l.Sleep(10 * time.Second) }
