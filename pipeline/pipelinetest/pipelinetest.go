// Package pipelinetest runs a pipeline against an embedded broker, for tests of handlers and of
// whole services: the real consumer, the real pipeline, the real Kafka protocol, no network and no
// Docker.
//
//	func TestUpper(t *testing.T) {
//		synctest.Test(t, func(t *testing.T) { // optional: virtual time, so that retries and time-outs cost nothing
//			h := pipelinetest.New(t, pipeline.Config{Handler: upper}, pipelinetest.Topic("out", 1))
//			h.Feed(pipelinetest.Record("k", "v"))
//			h.WaitDone(1)
//			if got := h.Outputs("out"); string(got[0].Value) != "V" { t.Errorf("got %s", got[0].Value) }
//		})
//	}
//
// Inside a testing/synctest bubble everything works: connections are in memory. Make the harness
// inside the bubble then.
package pipelinetest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/producer"
)

// Defaults of New.
const (
	DefaultTopic      = "in"
	DefaultGroup      = "pipelinetest"
	DefaultPartitions = 3
	// DefaultTimeout is how long the Wait methods wait (in a bubble: virtual time).
	DefaultTimeout = 30 * time.Second
)

// Option changes what New starts.
type Option func(*settings)

type settings struct {
	topics  map[string]int32
	broker  []kfake.Opt
	timeout time.Duration
	manual  bool
}

// Topic creates a topic. Input topics and the dead-letter topic are created without it, with
// DefaultPartitions; output topics are not.
func Topic(name string, partitions int) Option {
	return func(s *settings) { s.topics[name] = int32(partitions) }
}

// Broker adds options of the embedded broker (versions, ACLs, broker configuration).
func Broker(opts ...kfake.Opt) Option {
	return func(s *settings) { s.broker = append(s.broker, opts...) }
}

// Timeout replaces DefaultTimeout.
func Timeout(d time.Duration) Option {
	return func(s *settings) { s.timeout = d }
}

// Manual leaves the pipeline unstarted: feed first, then call Start.
func Manual() Option {
	return func(s *settings) { s.manual = true }
}

// Harness is a broker and a running pipeline. Its methods end the test when something of theirs
// fails.
type Harness struct {
	t        testing.TB
	network  *kfake.VirtualNetwork
	broker   *kfake.Cluster
	client   *kgo.Client
	admin    *kadm.Client
	pipeline *pipeline.Pipeline
	group    string
	input    string
	timeout  time.Duration

	cancel  context.CancelCauseFunc
	ended   chan struct{}
	err     error
	once    sync.Once
	started bool
}

var brokers = []string{"localhost:9092"}

// New starts a broker and a pipeline; the test's cleanup stops both. In cfg, Consumer.Brokers and
// the dialer are filled in, and if they are empty Consumer.Topics (DefaultTopic), Consumer.Group
// (DefaultGroup) and Producer: a direct one. To test with another (a producertest.Fake, a sidecar's
// client) set it: with KeepProducer it stays open for the test to look at.
func New(t testing.TB, cfg pipeline.Config, opts ...Option) *Harness {
	t.Helper()
	s := settings{topics: map[string]int32{}, timeout: DefaultTimeout}
	for _, opt := range opts {
		opt(&s)
	}
	if len(cfg.Consumer.Brokers) > 0 {
		t.Fatalf("pipelinetest: Consumer.Brokers is %v: leave it empty, the harness brings its own broker", cfg.Consumer.Brokers)
	}
	h := &Harness{t: t, network: &kfake.VirtualNetwork{}, timeout: s.timeout, ended: make(chan struct{})}
	h.startBroker(&cfg, &s)
	h.startPipeline(cfg)
	if !s.manual {
		h.Start()
	}
	return h
}

func (h *Harness) startBroker(cfg *pipeline.Config, s *settings) {
	h.t.Helper()
	if len(cfg.Consumer.Topics) == 0 && cfg.Consumer.Regex == "" {
		cfg.Consumer.Topics = []string{DefaultTopic}
	}
	if cfg.Consumer.Group == "" {
		cfg.Consumer.Group = DefaultGroup
	}
	h.group = cfg.Consumer.Group
	for _, topic := range append([]string{cfg.DeadLetter.Topic}, cfg.Consumer.Topics...) {
		if _, named := s.topics[topic]; !named && topic != "" {
			s.topics[topic] = DefaultPartitions
		}
	}
	all := []kfake.Opt{kfake.NumBrokers(1), kfake.Ports(9092), kfake.ListenFn(h.network.Listen), kfake.GroupMinSessionTimeout(time.Second)}
	for topic, partitions := range s.topics {
		all = append(all, kfake.SeedTopics(partitions, topic))
	}
	broker, err := kfake.NewCluster(append(all, s.broker...)...)
	h.must(err)
	h.broker = broker
	h.t.Cleanup(broker.Close)
	h.client = h.Client(kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)), kgo.ProducerLinger(0))
	h.admin = kadm.NewClient(h.client)
	if len(cfg.Consumer.Topics) > 0 {
		h.input = cfg.Consumer.Topics[0]
	}
}

func (h *Harness) startPipeline(cfg pipeline.Config) {
	h.t.Helper()
	cfg.Consumer.Brokers = brokers
	cfg.Consumer.Options = append(cfg.Consumer.Options[:len(cfg.Consumer.Options):len(cfg.Consumer.Options)], kgo.Dialer(h.network.DialContext))
	if cfg.Producer == nil {
		cfg.Producer = h.Direct(producer.DirectConfig{})
	}
	p, err := pipeline.New(cfg)
	h.must(err)
	h.pipeline = p
	h.t.Cleanup(func() {
		if err := h.Stop(); err != nil && !h.t.Failed() {
			h.t.Logf("pipelinetest: the pipeline ended with: %v", err)
		}
	})
}

// Start runs the pipeline of a Manual harness.
func (h *Harness) Start() {
	ctx, cancel := context.WithCancelCause(context.Background())
	h.cancel, h.started = cancel, true
	go func() {
		defer close(h.ended)
		h.err = h.pipeline.Run(ctx)
	}()
}

// Stop ends the pipeline as SIGTERM does, and returns what Run returned. The second call returns it
// again.
func (h *Harness) Stop() error {
	if !h.started {
		return h.pipeline.Close()
	}
	h.once.Do(func() { h.cancel(errors.New("pipelinetest: Stop")) })
	return h.WaitEnded()
}

// WaitEnded waits until Run returns by itself, and returns its error.
func (h *Harness) WaitEnded() error {
	h.t.Helper()
	limit := time.NewTimer(h.timeout + time.Minute)
	defer limit.Stop()
	select {
	case <-h.ended:
		return h.err
	case <-limit.C:
		h.t.Fatalf("pipelinetest: Run did not return within %s", h.timeout+time.Minute)
		return nil
	}
}

// Pipeline returns the pipeline under test.
func (h *Harness) Pipeline() *pipeline.Pipeline { return h.pipeline }

// Cluster returns the embedded broker, for faults and leader moves of your own.
func (h *Harness) Cluster() *kfake.Cluster { return h.broker }

// Options are what a client of the embedded broker needs.
func (h *Harness) Options() []kgo.Opt {
	return []kgo.Opt{kgo.SeedBrokers(brokers...), kgo.Dialer(h.network.DialContext)}
}

// Client makes a client of the embedded broker; the test's cleanup closes it.
func (h *Harness) Client(opts ...kgo.Opt) *kgo.Client {
	h.t.Helper()
	cl, err := kgo.NewClient(append(h.Options(), opts...)...)
	h.must(err)
	h.t.Cleanup(cl.CloseAllowingRebalance)
	return cl
}

// Direct makes a producer of the embedded broker.
func (h *Harness) Direct(cfg producer.DirectConfig) producer.Producer {
	cfg.Brokers = brokers
	cfg.Options = append(cfg.Options[:len(cfg.Options):len(cfg.Options)], kgo.Dialer(h.network.DialContext))
	return producer.Direct(cfg)
}

func (h *Harness) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatalf("pipelinetest: %v", err)
	}
}
