package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/test/bufconn"

	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/pipeline/pipelinetest"
	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/sidecar"
)

// pod is a sidecar in memory that can be stopped and started again.
type pod struct {
	t    *testing.T
	tp   trace.TracerProvider
	mu   sync.Mutex
	lis  *bufconn.Listener
	stop func()

	server *sidecar.Server
}

func (p *pod) dial(ctx context.Context) (net.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lis == nil {
		return nil, errors.New("the sidecar is down")
	}
	return p.lis.DialContext(ctx)
}

func (p *pod) start(opts []kgo.Opt, apps ...sidecar.App) {
	lis := bufconn.Listen(1 << 16)
	s, err := sidecar.New(sidecar.Config{Brokers: []string{"localhost:9092"}, Options: opts, Listener: lis, Apps: apps, TracerProvider: p.tp, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lis, p.server = lis, s
	p.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			p.t.Errorf("the sidecar ended with %v", err)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.lis = nil
	}
}

// TestThroughASidecar: retries, rebalances and restarts of the sidecar under load lose nothing and
// keep the order of each key.
func TestThroughASidecar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const keys, each = 10, 60
		p := &pod{t: t}
		h := pipelinetest.New(t, quiet(pipeline.Config{
			Producer:    producer.DialConfig{Target: "pod", App: "test", Dialer: p.dial, Logger: slog.New(slog.DiscardHandler)}.New(),
			Handler:     pipeline.HandlerFunc(randomHandler(4, "out")),
			MaxAttempts: 1000, Backoff: pipeline.Backoff{Initial: time.Millisecond}, Concurrency: 4,
		}), pipelinetest.Topic("in", 4), pipelinetest.Topic("out", 4), pipelinetest.Manual(), pipelinetest.Timeout(5*time.Minute))
		opts := h.Options()[1:]
		p.start(opts)
		h.Start()
		fed := make(chan struct{})
		go func() {
			defer close(fed)
			for i := range each {
				var in []*kgo.Record
				for k := range keys {
					in = append(in, pipelinetest.Record("key"+strconv.Itoa(k), strconv.Itoa(i)))
				}
				h.Feed(in...)
				time.Sleep(100 * time.Millisecond)
			}
		}()
		h.Rebalance()
		p.stop()
		time.Sleep(time.Second)
		p.start(opts)
		h.Rebalance()
		<-fed
		h.WaitIdle()
		if err := inOrder(h.Outputs("out"), keys, each); err != nil {
			t.Error(err)
		}
		if err := h.Stop(); err != nil {
			t.Errorf("Run returned %v", err)
		}
		p.stop()
	})
}

// A dead-letter topic that is not there is named through a sidecar, too; one that the direct
// producer may create is not missing.
func TestMissingDeadLetterTopicByEveryWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pod{t: t}
		h := pipelinetest.New(t, quiet(pipeline.Config{Handler: pipeline.HandlerFunc(upper)}), pipelinetest.Topic("in", 1), pipelinetest.Topic("dead", 1),
			pipelinetest.Manual())
		p.start(h.Options()[1:])
		for name, test := range map[string]struct {
			producer producer.Producer
			missing  bool
		}{
			"sidecar":                     {producer.DialConfig{Target: "pod", App: "test", Dialer: p.dial, Logger: slog.New(slog.DiscardHandler)}.New(), true},
			"direct":                      {h.Direct(producer.DirectConfig{}), true},
			"direct, which may create it": {h.Direct(producer.DirectConfig{Options: []kgo.Opt{kgo.AllowAutoTopicCreation()}}), false},
		} {
			c := test.producer.(producer.TopicChecker)
			if err := c.CheckTopics(t.Context(), "dead"); err != nil {
				t.Errorf("%s: of one that is there: %v", name, err)
			}
			err := c.CheckTopics(t.Context(), "dead", "daed")
			e, ok := errors.AsType[*producer.Error](err)
			if ok != test.missing || ok && (e.Code != "UNKNOWN_TOPIC_OR_PARTITION" || e.Topic != "daed") {
				t.Errorf("%s: of one that is not: %v", name, err)
			}
			var many []string
			for i := range 20 {
				many = append(many, strconv.Itoa(i)+strings.Repeat("x", 300*(i%2)))
			}
			if err := c.CheckTopics(t.Context(), many...); test.missing && err == nil {
				t.Errorf("%s: of many that are not: nil", name)
			}
			if err := test.producer.Close(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		p.stop()
	})
}

// inOrder checks that each key's values 0, 1, 2 … all came, and that their first occurrences are in
// order (S7).
func inOrder(outputs []*kgo.Record, keys, each int) error {
	next := map[string]int{}
	for _, r := range outputs {
		n, err := strconv.Atoi(string(r.Value))
		switch key := string(r.Key); {
		case err != nil:
			return err
		case n > next[key]:
			return fmt.Errorf("%s: %d came before %d", key, n, next[key])
		case n == next[key]:
			next[key]++
		}
	}
	for key, n := range next {
		if n != each {
			return fmt.Errorf("%s has %d of %d", key, n, each)
		}
	}
	if len(next) != keys {
		return fmt.Errorf("%d of %d keys", len(next), keys)
	}
	return nil
}
