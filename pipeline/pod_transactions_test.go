package pipeline_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/podstate"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/producer"
)

// A process with transactions of its own shows them as a sidecar does: how they go, and those that
// were aborted, with the reason.
func TestAProcessShowsItsTransactions(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "in", "out", "dlq"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	feeder, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer feeder.Close()
	p, err := pipeline.New(pipeline.Config{
		Mode:     pipeline.ExactlyOnce,
		Consumer: consumer.Config{Brokers: c.ListenAddrs(), Group: "g", Topics: []string{"in"}},
		Producer: producer.Direct(producer.DirectConfig{
			Brokers: c.ListenAddrs(), TransactionalID: "invoices-0", CommitEvery: 10 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
		}),
		DeadLetter: pipeline.DeadLetter{Topic: "dlq"},
		Logger:     slog.New(slog.DiscardHandler),
		Handler: pipeline.HandlerFunc(func(_ context.Context, in *consumer.Message) ([]producer.Record, error) {
			if in.Offset == 3 {
				return []producer.Record{{Topic: "out", Value: make([]byte, 2<<20)}}, nil
			}
			return []producer.Record{{Topic: "out", Key: in.Key, Value: in.Value}}, nil
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	if pod := p.Pod(); pod.Transactions() != nil && pod.Transactions().Committed != 0 {
		t.Errorf("before it runs: %+v", pod.Transactions())
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	for i := range 10 {
		if err := feeder.ProduceSync(t.Context(), &kgo.Record{Topic: "in", Value: fmt.Append(nil, i)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	var pod *podstate.Pod
	told := func() (n int64) {
		for _, in := range pod.Incidents {
			if in.Kind == podstate.Abort {
				n += in.Count
			}
		}
		return n
	}
	// An abort is counted a little before it is told.
	for pod = p.Pod(); pod.Counters.Done < 10 || pod.Transactions().Committed == 0 || told() != pod.Transactions().Aborted; pod = p.Pod() {
		select {
		case <-poll.C:
		case <-t.Context().Done():
			t.Fatalf("%+v", pod.Transactions())
		}
	}
	x := pod.Transactions()
	if x.ID != "invoices-0" || x.Aborted == 0 || pod.Sidecar != nil || !pod.Sessions[0].ExactlyOnce {
		t.Errorf("%+v", x)
	}
	for _, in := range pod.Incidents {
		if in.Kind != podstate.Abort {
			continue
		}
		if in.App != "g" || in.Session != "own" || !strings.HasPrefix(in.Reason, "invoices-0: ") || !strings.Contains(in.Reason, "MESSAGE_TOO_LARGE") {
			t.Errorf("%+v", in)
		}
	}
	for i := 1; i < len(pod.Incidents); i++ {
		if pod.Incidents[i].Time.After(pod.Incidents[i-1].Time) {
			t.Errorf("not the newest first: %+v", pod.Incidents)
		}
	}
	if text, err := json.Marshal(pod); err != nil || !strings.Contains(string(text), `"transactions":{"id":"invoices-0"`) {
		t.Errorf("%v: %s", err, text)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
