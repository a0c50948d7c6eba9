package outlet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/devbroker"
)

// Defaults of TestStress: so many seeds, but no new one after so much real time.
const (
	stresses   = 40
	stressTime = 15 * time.Second
)

// TestStress lets random records, refusals, faults and ends loose on an outlet, and compares with
// what a producer that knew all verdicts beforehand would have done. ACKMARK_OUTLET_SEED=n replays
// one seed, ACKMARK_SEEDS=n runs n new ones, however long it takes.
func TestStress(t *testing.T) {
	if s := os.Getenv("ACKMARK_OUTLET_SEED"); s != "" {
		stress(t, uint64(number(t, "ACKMARK_OUTLET_SEED", s)))
		return
	}
	n, limit := stresses, stressTime
	if testing.Short() {
		n = 15
	}
	if s := os.Getenv("ACKMARK_SEEDS"); s != "" {
		n, limit = int(number(t, "ACKMARK_SEEDS", s)), time.Hour
	}
	base, begun := rand.Uint64()>>24, time.Now()
	for i := range n {
		if time.Since(begun) > limit {
			t.Logf("%d of %d seeds in %v", i, n, limit)
			return
		}
		seed := base + uint64(i)
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { stress(t, seed) })
	}
}

// Seeds in which one fault or another of earlier code comes to light, nearly every time.
func TestStressThatFailedOnce(t *testing.T) {
	times := 5
	if testing.Short() {
		times = 2
	}
	for seed, why := range map[uint64]string{
		150567567667: "a client forgot a topic that was still there, and Kafka took its next batch for an old one of that size",
		448099134077: "a topic that was deleted before its first acknowledgement was not awaited",
		458762275382: "a large record came before those that had no partition yet",
		906913574026: "records behind another's failure got the error of the topic that was gone",
		576220231717: "a topic that was created anew before anything of it had a partition was one that is not there",
	} {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			for range times {
				stress(t, seed)
			}
			if t.Failed() {
				t.Logf("before: %s", why)
			}
		})
	}
}

// Close gives no record the verdict on its batch.
func TestNoVerdictAtClose(t *testing.T) {
	for _, err := range []error{kerr.InvalidRecord, context.Canceled, kerr.UnknownTopicID} {
		o := &Outlet{topics: map[string]*Topic{}}
		o.closed.Store(true)
		p := o.Topic("t").part(0)
		p.topic.known.Store(true)
		p.entered.Add(1)
		ends := p.back(new(Rec), 0, err)
		if len(ends) != 1 || !errors.Is(ends[0].err, kgo.ErrClientClosed) {
			t.Errorf("%v: %v", err, ends)
		}
	}
}

func number(t *testing.T, name, s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatalf("%s=%s: %v", name, s, err)
	}
	return n
}

// errWithdrawn is what the owner says of a record that it does not want to be sent again.
var errWithdrawn = errors.New("its owner is gone")

// load is what a seed draws.
type load struct {
	partitions          int32
	rules               devbroker.Rules
	linger              time.Duration
	compress            bool
	streams, records    int
	limits, faults      bool
	unsure              bool // answers are lost, or say that it is not known what became of the batch
	deletes, withdraws  bool
	closes              bool
	guilty, large, huge float64 // how many records are so
}

func draw(r *rand.Rand) load {
	flip := func(p float64) bool { return r.Float64() < p }
	l := load{
		partitions: 1 + r.Int32N(3),
		rules:      devbroker.Rules{Compacted: flip(.7), Unnamed: flip(.5)},
		compress:   flip(.5),
		streams:    1 + r.IntN(4), records: 50 + r.IntN(300),
		limits: flip(.4), faults: flip(.5), deletes: flip(.25), withdraws: flip(.3), closes: flip(.2),
	}
	if l.unsure = l.faults && !l.deletes && flip(.5); l.unsure {
		l.partitions = 1 // the embedded broker has one epoch for all of a producer's partitions, Kafka one for each
	}
	l.limits = l.limits && !l.unsure // a batch that was written, and is refused when it is sent again, cannot be told from one that was not: see guarantees.md
	if flip(.5) {
		l.rules.After = time.Hour
	}
	if flip(.6) {
		l.linger = time.Duration(1+r.IntN(8)) * time.Millisecond
	}
	for _, share := range []*float64{&l.guilty, &l.large, &l.huge} {
		if flip(.6) {
			*share = r.Float64() * r.Float64() * .2
		}
	}
	return l
}

// sent is a record, and what a producer that knows the verdicts would make of it.
type sent struct {
	Rec
	name      string
	stream, n int
	ordered   bool
	guilty    error // the verdict on it alone
	perhaps   bool  // guilty or not by the limit of the moment
	after     int32 // how many times the topic had been created anew when it was handed over

	withdrawn atomic.Bool
	fates     atomic.Int32
	err       error
}

func sentOf(kr *kgo.Record) *sent { return (*sent)(unsafe.Pointer(kr)) }

// stressed is one run.
type stressed struct {
	*testing.T
	load
	rand  *rand.Rand // the main goroutine's
	kafka *kfake.Cluster
	out   *Outlet
	admin *kgo.Client
	net   *cutNetwork
	all   []*sent
	open  sync.WaitGroup
	anew  atomic.Int32
	dropped
}

const smallestLimit, largestLimit = 6 << 10, 40 << 10

func stress(t *testing.T, seed uint64) {
	synctest.Test(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(seed, 0x07e7))
		s := &stressed{T: t, rand: r, load: draw(r), net: &cutNetwork{rand: rand.New(rand.NewPCG(seed, 2))}}
		t.Logf("ACKMARK_OUTLET_SEED=%d: %+v", seed, s.load)
		s.start()
		s.run()
		s.check()
		s.admin.Close()
		s.kafka.Close()
		time.Sleep(time.Second) // writes take their time
	})
}

func (s *stressed) start() {
	var err error
	s.kafka, err = kfake.NewCluster(kfake.NumBrokers(2), kfake.Ports(9092, 9093), kfake.ListenFn(s.net.Listen))
	s.must(err)
	s.must(s.create())
	devbroker.Validate(s.kafka, func(string) devbroker.Rules { return s.rules })
	options := []kgo.Opt{
		kgo.SeedBrokers(s.kafka.ListenAddrs()...), kgo.Dialer(s.net.DialContext), kgo.DisableClientMetrics(), kgo.MetadataMinAge(20 * time.Millisecond),
		kgo.RetryBackoffFn(func(int) time.Duration { return 10 * time.Millisecond }),
	}
	if s.deletes {
		options = append(options, kgo.WithLogger(&s.dropped))
	}
	if s.compress {
		options = append(options, kgo.ProducerBatchCompression(kgo.SnappyCompression()))
	} else {
		options = append(options, kgo.ProducerBatchCompression(kgo.NoCompression()))
	}
	s.admin, err = kgo.NewClient(options...)
	s.must(err)
	s.out, err = New(Config{
		Options: options, Usual: []kgo.Opt{kgo.ProducerLinger(s.linger)},
		Partitioner: kgo.StickyKeyPartitioner(nil), MaxRecordBytes: 4 << 20, Log: slog.New(slog.DiscardHandler),
		Resend: func(r *Rec) error {
			if sentOf(&r.Record).withdrawn.Load() {
				return errWithdrawn
			}
			return nil
		},
	})
	s.must(err)
	for _, client := range []func() (*kgo.Client, error){s.out.other, func() (*kgo.Client, error) { return s.out.usual, nil }} {
		cl, err := client()
		s.must(err)
		_, _, err = cl.ProducerID(s.Context()) // now, while nothing is cut
		s.must(err)
	}
}

func (s *stressed) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *stressed) create() error {
	configs := map[string]string{"max.message.bytes": strconv.Itoa(largestLimit)}
	if s.limits {
		configs["max.message.bytes"] = strconv.Itoa(smallestLimit + s.rand.IntN(largestLimit-smallestLimit))
	}
	return s.kafka.CreateTopic("t", s.partitions, configs)
}

// run hands over all records while things happen.
func (s *stressed) run() {
	var streams sync.WaitGroup
	for i := range s.streams {
		r := rand.New(rand.NewPCG(s.rand.Uint64(), 1))
		list := make([]*sent, s.records)
		for n := range list {
			list[n] = s.record(r, i, n)
		}
		s.all = append(s.all, list...)
		s.open.Add(len(list))
		streams.Go(func() {
			for _, x := range list {
				if r.IntN(20) == 0 {
					time.Sleep(time.Duration(r.IntN(4000)) * time.Microsecond)
				}
				s.send(x)
			}
		})
	}
	handed := make(chan struct{})
	go func() { streams.Wait(); close(handed) }()
	for range 30 {
		time.Sleep(time.Duration(s.rand.IntN(3000)) * time.Microsecond)
		s.event()
	}
	if s.deletes && s.kafka.TopicInfo("t") == nil {
		s.must(s.create())
		s.anew.Add(1)
	}
	<-handed
	if s.closes {
		s.out.Close()
	}
	s.open.Wait()
}

func (s *stressed) send(x *sent) {
	x.after = s.anew.Load()
	x.To = s.out.Topic("t")
	x.To.Prepare(s.Context())
	s.out.Produce(&x.Rec)
}

// record makes one; the later of a stream have the larger numbers.
func (s *stressed) record(r *rand.Rand, stream, n int) *sent {
	x := &sent{name: fmt.Sprintf("%c%d ", 'a'+stream, n), stream: stream, n: n, ordered: true}
	x.Topic, x.Record.Key, x.Record.Value = "t", []byte{byte('a' + r.IntN(5))}, []byte(x.name)
	x.Promise = s.fate
	if x.Explicit = r.IntN(3) == 0; x.Explicit {
		x.Partition = r.Int32N(s.partitions)
	}
	switch p := r.Float64(); {
	case p < s.load.guilty && s.rules.Compacted && r.IntN(2) == 0:
		x.Record.Key, x.guilty, x.ordered = nil, kerr.InvalidRecord, false
	case p < s.load.guilty && s.rules.After > 0:
		x.Timestamp, x.guilty = time.Now().Add(30*24*time.Hour), kerr.InvalidTimestamp
	case p < s.load.guilty+s.load.large: // fits, or does not, by the limit of the moment
		x.noise(r, smallestLimit/2+r.IntN(2*largestLimit))
		x.perhaps = true
	case p < s.load.guilty+s.load.large+s.load.huge && s.compress: // fits when compressed
		x.Record.Value = append(x.Record.Value, make([]byte, 30_000+r.IntN(60_000))...)
		x.perhaps = true
		if n%2 == 0 {
			x.Record.Value = append([]byte(x.name), make([]byte, 50_000)...)
			x.perhaps = false
		}
	case r.IntN(3) == 0:
		x.noise(r, r.IntN(1500))
	}
	if s.withdraws && r.IntN(30) == 0 {
		x.withdrawn.Store(true)
	}
	return x
}

func (x *sent) noise(r *rand.Rand, n int) {
	for range n / 8 {
		v := r.Uint64()
		for range 8 {
			x.Record.Value = append(x.Record.Value, byte(v))
			v >>= 8
		}
	}
}

func (s *stressed) fate(kr *kgo.Record, err error) {
	x := sentOf(kr)
	x.err = err
	if x.fates.Add(1) != 1 {
		s.Errorf("%s: a second fate: %v", x.name, err)
		return
	}
	s.open.Done()
}

// event is one thing that happens.
func (s *stressed) event() {
	switch s.rand.IntN(6) {
	case 0:
		if s.limits {
			req := kmsg.NewPtrIncrementalAlterConfigsRequest()
			res := kmsg.NewIncrementalAlterConfigsRequestResource()
			res.ResourceType, res.ResourceName = kmsg.ConfigResourceTypeTopic, "t"
			c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
			c.Name, c.Value = "max.message.bytes", new(strconv.Itoa(smallestLimit+s.rand.IntN(largestLimit-smallestLimit)))
			res.Configs = append(res.Configs, c)
			req.Resources = append(req.Resources, res)
			_, _ = req.RequestWith(s.Context(), s.admin)
		}
	case 1:
		if s.faults {
			errs := []*kerr.Error{kerr.NotLeaderForPartition, kerr.NotEnoughReplicas, kerr.LeaderNotAvailable}
			if s.unsure {
				errs = append(errs, kerr.RequestTimedOut, kerr.NotEnoughReplicasAfterAppend)
			}
			s.kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "t", Err: errs[s.rand.IntN(len(errs))], Count: 1 + s.rand.IntN(3)})
		}
	case 2:
		if s.unsure {
			s.net.cut()
		}
	case 3:
		if s.faults {
			_ = s.kafka.MoveTopicPartition("t", s.rand.Int32N(s.partitions), s.rand.Int32N(2))
		}
	case 4:
		if s.withdraws {
			for range 10 {
				s.all[s.rand.IntN(len(s.all))].withdrawn.Store(true)
			}
		}
	case 5:
		if !s.deletes {
			return
		}
		if s.kafka.TopicInfo("t") != nil {
			_ = s.kafka.DeleteTopic("t")
			return
		}
		s.must(s.create())
		s.anew.Add(1)
	}
}

// check compares with the model, and expects that nothing is left.
func (s *stressed) check() {
	synctest.Wait()
	s.settled()
	if !s.closes {
		s.out.Close()
	}
	places := s.read()
	for _, x := range s.all {
		_, there := places[x.name]
		switch {
		case x.err == nil && x.guilty != nil:
			s.Errorf("%s is guilty and was delivered", x.name)
		case x.err == nil && !there && (!s.deletes || x.after == s.anew.Load()):
			s.Errorf("%s was acknowledged and is not in Kafka", x.name)
		case x.err != nil && there && !(s.closes && errors.Is(x.err, kgo.ErrClientClosed)):
			s.Errorf("%s failed (%v) and is in Kafka", x.name, x.err)
		case x.err == nil || s.closes && errors.Is(x.err, kgo.ErrClientClosed) || s.withdraws && errors.Is(x.err, errWithdrawn):
		case x.guilty != nil && errors.Is(x.err, x.guilty):
		case x.perhaps && errors.Is(x.err, kerr.MessageTooLarge):
		default:
			s.Errorf("%s: %v, want %v", x.name, x.err, x.guilty)
		}
	}
	type line struct {
		stream    int
		partition int32
	}
	last := map[line]*sent{}
	at := map[line]int{}
	for _, x := range s.all { // in the order of their numbers, stream by stream
		place, there := places[x.name]
		if !there || !x.ordered {
			continue
		}
		l := line{x.stream, place.partition}
		if before := last[l]; before != nil && at[l] > place.index {
			s.Errorf("partition %d: %s is before %s", l.partition, x.name, before.name)
		}
		last[l], at[l] = x, place.index
	}
}

// settled expects that all that was taken was given back.
func (s *stressed) settled() {
	o := s.out
	for range 100 { // the client counts down after the promise; a repair may pause for a topic that is there again
		if o.Buffered() == 0 && o.repairs.Load() == 0 {
			break
		}
		time.Sleep(goneRetry)
	}
	if n := o.Buffered(); n != 0 {
		s.Errorf("%d are on their way at the end", n)
	}
	if o.repairs.Load() != 0 || o.alone.Load() != 0 || len(o.underRepair()) != 0 {
		s.Errorf("at the end: %d repairs, %d large ones, %d partitions", o.repairs.Load(), o.alone.Load(), len(o.underRepair()))
	}
	t := o.Topic("t")
	if n := t.unplaced.Load(); n != 0 {
		s.Errorf("%d have no place at the end", n)
	}
	for _, p := range *t.parts.Load() {
		if p == nil {
			continue
		}
		p.mu.Lock()
		if p.mend != nil || p.mending.Load() || p.halt.Load() || p.pause || p.entered.Load() != p.left.Load() {
			s.Errorf("partition %d at the end: mend %+v, mending %t, halt %t, pause %t, entered %d, left %d",
				p.id, p.mend, p.mending.Load(), p.halt.Load(), p.pause, p.entered.Load(), p.left.Load())
		}
		p.mu.Unlock()
	}
}

type place struct {
	partition int32
	index     int
}

// read is where each record is.
func (s *stressed) read() map[string]place {
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.kafka.ListenAddrs()...), kgo.Dialer(s.net.DialContext), kgo.DisableClientMetrics(),
		kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	s.must(err)
	defer cl.Close()
	left := map[int32]int64{}
	for _, p := range s.kafka.PartitionInfos("t") {
		if p.HighWatermark > 0 {
			left[p.Partition] = p.HighWatermark
		}
	}
	ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
	defer cancel()
	got := map[string]place{}
	for len(left) > 0 && ctx.Err() == nil {
		cl.PollFetches(ctx).EachRecord(func(kr *kgo.Record) {
			name, _, _ := strings.Cut(string(kr.Value[:min(len(kr.Value), 20)]), " ")
			name += " "
			if before, twice := got[name]; twice && !s.dropped.has(before) {
				s.Errorf("%s is in Kafka twice: partition %d at %d and partition %d at %d", name, before.partition, before.index, kr.Partition, kr.Offset)
			}
			got[name] = place{kr.Partition, int(kr.Offset)}
			if kr.Offset+1 >= left[kr.Partition] {
				delete(left, kr.Partition)
			}
		})
	}
	if len(left) > 0 {
		s.Errorf("not read to the end: %v", left)
	}
	return got
}

// dropped are batches that were on their way when a client heard that the topic is another one: it
// fails their records, although the new topic may have got them, and nobody can tell. They may be
// there twice: see guarantees.md.
type dropped struct {
	mu    sync.Mutex
	bases []place
}

// Level implements kgo.Logger.
func (d *dropped) Level() kgo.LogLevel { return kgo.LogLevelDebug }

var skipped = regexp.MustCompile(`(\d+)\{skipped@(\d+)`)

// Log implements kgo.Logger.
func (d *dropped) Log(_ kgo.LogLevel, msg string, keyvals ...any) {
	if msg != "produced" {
		return
	}
	for _, m := range skipped.FindAllStringSubmatch(fmt.Sprint(keyvals...), -1) {
		partition, _ := strconv.Atoi(m[1])
		base, _ := strconv.Atoi(m[2])
		d.mu.Lock()
		d.bases = append(d.bases, place{int32(partition), base})
		d.mu.Unlock()
	}
}

func (d *dropped) has(p place) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.ContainsFunc(d.bases, func(b place) bool { return b.partition == p.partition && p.index >= b.index })
}
