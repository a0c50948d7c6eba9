package consumer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// lab is an in-memory cluster on a virtual network, inside a synctest bubble: time is virtual.
type lab struct {
	t       *testing.T
	net     kfake.VirtualNetwork
	cluster *kfake.Cluster
	feeder  *kgo.Client
	logs    *logBuffer
	members []*member
}

const (
	groupName = "g"
	topic     = "in"
)

func inLab(t *testing.T, partitions int32, fn func(*testing.T, *lab), opts ...kfake.Opt) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := &lab{t: t, logs: &logBuffer{}}
		all := append([]kfake.Opt{
			kfake.NumBrokers(3), kfake.Ports(9092, 9093, 9094), kfake.ListenFn(l.net.Listen), kfake.SeedTopics(partitions, topic),
		}, opts...)
		cluster, err := kfake.NewCluster(all...)
		if err != nil {
			t.Fatal(err)
		}
		l.cluster = cluster
		l.feeder = l.newClient(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0))
		defer func() {
			for _, m := range l.members {
				_ = m.stop() // again: after a failed check they still run
			}
			l.feeder.Close()
			cluster.Close()
			if t.Failed() {
				t.Log(l.logs.String())
			}
			synctest.Wait()
		}()
		fn(t, l)
	})
}

func (l *lab) newClient(opts ...kgo.Opt) *kgo.Client {
	l.t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers("localhost:9092"), kgo.Dialer(l.net.DialContext), kgo.DisableClientMetrics()}, opts...)...)
	if err != nil {
		l.t.Fatal(err)
	}
	return cl
}

// feed produces n records to a partition, valued by their number.
func (l *lab) feed(partition int32, n int) {
	l.t.Helper()
	recs := make([]*kgo.Record, n)
	for i := range recs {
		recs[i] = &kgo.Record{Topic: topic, Partition: partition, Key: []byte("k"), Value: []byte(strconv.Itoa(i))}
	}
	if err := l.feeder.ProduceSync(context.Background(), recs...).FirstErr(); err != nil {
		l.t.Fatal(err)
	}
}

// protocolUnderTest is that of ACKMARK_PROTOCOL, by default classic: protocol_test.go has what is
// particular to the other one, and all the rest holds in both.
var protocolUnderTest = func() (p Protocol) {
	if err := p.UnmarshalText([]byte(os.Getenv("ACKMARK_PROTOCOL"))); err != nil {
		panic(err)
	}
	return p
}()

// classicOnly skips what is about classic requests, or brokers that have no other.
func classicOnly(t *testing.T) {
	t.Helper()
	if protocolUnderTest == ConsumerProtocol {
		t.Skip("a classic group's alone")
	}
}

func (l *lab) config() Config {
	return Config{
		Brokers: []string{"localhost:9092"}, Group: groupName, Topics: []string{topic},
		Options:  []kgo.Opt{kgo.Dialer(l.net.DialContext), kgo.DisableClientMetrics()},
		Protocol: protocolUnderTest,
		Logger:   slog.New(slog.NewTextHandler(l.logs, &slog.HandlerOptions{Level: slog.LevelInfo})),
	}
}

// member is a consumer that runs in its own goroutine.
type member struct {
	*Consumer
	l      *lab
	cancel context.CancelFunc
	result chan error
	ended  bool
	err    error
}

// start runs a consumer; deliver nil does every input at once.
func (l *lab) start(cfg Config, deliver func(*Batch)) *member {
	l.t.Helper()
	c, err := New(cfg)
	if err != nil {
		l.t.Fatal(err)
	}
	if deliver == nil {
		deliver = doAll
	}
	ctx, cancel := context.WithCancel(context.Background())
	m := &member{Consumer: c, l: l, cancel: cancel, result: make(chan error, 1)}
	go func() { m.result <- c.Run(ctx, deliver) }()
	l.members = append(l.members, m)
	return m
}

func doAll(b *Batch) {
	for i := range b.Messages {
		if b.Messages[i].Start() {
			b.Messages[i].Done(nil)
		}
	}
}

// stop ends the consumer and returns what Run returned.
func (m *member) stop() error {
	m.cancel()
	return m.wait()
}

func (m *member) wait() error {
	if !m.ended {
		m.err, m.ended = <-m.result, true
	}
	return m.err
}

// committed is what the group has for a partition of the topic: -1 for nothing.
func (l *lab) committed(partition int32) int64 {
	g := l.cluster.GroupInfo(groupName)
	if g == nil {
		return -1
	}
	c, ok := g.Commits[topic][partition]
	if !ok {
		return -1
	}
	return c.Offset
}

// until waits, in virtual time, for something to become true.
func (l *lab) until(what string, ok func() bool) {
	l.t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); !ok(); {
		if time.Now().After(deadline) {
			l.t.Fatalf("still not after 5 minutes: %s", what)
		}
		time.Sleep(50 * time.Millisecond)
		synctest.Wait()
	}
}

func (l *lab) untilCommitted(partition int32, offset int64) {
	l.t.Helper()
	l.until(fmt.Sprintf("partition %d committed at %d (is %d)", partition, offset, l.committed(partition)), func() bool { return l.committed(partition) == offset })
}

// holder collects messages without doing them.
type holder struct {
	mu   sync.Mutex
	held []*Message
	open bool // what comes from now on is done at once
}

func (h *holder) deliver(b *Batch) {
	for i := range b.Messages {
		if b.Messages[i].Start() {
			h.hold(&b.Messages[i])
		}
	}
}

func (h *holder) hold(m *Message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.open {
		m.Done(nil)
		return
	}
	h.held = append(h.held, m)
}

// letGo ends all that is held, and whatever comes.
func (h *holder) letGo() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open = true
	DoneAll(h.held)
}

func (h *holder) messages() []*Message {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]*Message(nil), h.held...)
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func wantNil(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("got error %v", err)
	}
}

func wantAs[E error](t *testing.T, err error) E {
	t.Helper()
	e, ok := errors.AsType[E](err)
	if !ok {
		t.Fatalf("got error %v (%T), want a %T", err, err, e)
	}
	return e
}
