package admin_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/admin"
	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/podstate"
	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/sidecar/sidecartest"
)

// status is what the admin port says of a source.
func status(t *testing.T, of admin.Source) *podstate.Pod {
	t.Helper()
	answer := httptest.NewRecorder()
	admin.Handler(admin.Config{Source: of}).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "http://localhost/api/status", http.NoBody))
	pod := new(podstate.Pod)
	if err := json.Unmarshal(answer.Body.Bytes(), pod); err != nil || answer.Code != http.StatusOK {
		t.Fatalf("%d, %v", answer.Code, err)
	}
	return pod
}

// shown waits until a source shows one partition like that.
func shown(t *testing.T, of admin.Source, what string, is func(*podstate.Partition) bool) *podstate.Pod {
	t.Helper()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		pod := status(t, of)
		if len(pod.Partitions) == 1 && is(&pod.Partitions[0]) {
			return pod
		}
		select {
		case <-again.C:
		case <-t.Context().Done():
			t.Fatalf("it is never %s: %+v", what, pod.Partitions)
		}
	}
}

// A loop of one's own over a consumer, without a pipeline, is a source by itself; a producer beside
// it tells the sidecar, whose page has it, too: its offsets, its oldest input, what it has done.
func TestAConsumerWithoutAPipeline(t *testing.T) {
	kafka, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "in"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(kafka.Close)
	client, err := kgo.NewClient(kgo.SeedBrokers(kafka.ListenAddrs()...), kgo.DefaultProduceTopic("in"))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := client.ProduceSync(t.Context(), kgo.StringRecord("x")).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	client.Close()
	sc := sidecartest.Start(t, kafka.ListenAddrs(), nil)
	p := producer.DialConfig{Target: sc.Target, App: "loop"}.New()
	var c *consumer.Consumer
	c, err = consumer.New(consumer.Config{Brokers: kafka.ListenAddrs(), Group: "g", Topics: []string{"in"}, Hooks: consumer.Hooks{
		Assigned: func(ctx context.Context, m consumer.Membership, added []*consumer.Assignment) {
			var list []producer.Assignment
			for _, a := range added {
				list = append(list, producer.Assignment{Epoch: a.Epoch, Topic: a.Topic, TopicID: a.TopicID, Partition: a.Partition, LeaderEpoch: a.LeaderEpoch, Start: a.Start, DoneSet: a.DoneSet})
			}
			if err := p.Assign(ctx, producer.Membership(m), list); err != nil {
				t.Error(err)
			}
		},
		Revoking: func(ctx context.Context, leaving []*consumer.Assignment) {
			for _, a := range leaving {
				if err := p.Release(ctx, []uint64{a.Epoch}); err != nil {
					t.Error(err)
				}
			}
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	stop := p.(producer.Teller).Tell(c.Report)
	let, ctx := make(chan struct{}), t.Context()
	ctx, end := context.WithCancel(ctx)
	var loop sync.WaitGroup
	loop.Go(func() {
		for m, err := range c.Messages(ctx) {
			if err != nil {
				t.Error(err)
				return
			}
			if m.Offset == 1 {
				<-let
			}
			m.Done(nil)
		}
	})
	held := func(x *podstate.Partition) bool {
		return x.State == podstate.Reading && x.Offsets.AckMark == 1 && x.Oldest != nil && x.Oldest.Offset == 1 && x.Oldest.Stage == podstate.Held
	}
	for what, source := range map[string]admin.Source{"by itself": c, "by its sidecar": sc} {
		pod := shown(t, source, "held at offset 1, "+what, held)
		if n := len(pod.Sessions); n != 1 || pod.Sessions[0].Process == nil || pod.Sessions[0].Process.Counters.Done != 1 || pod.Partitions[0].Group != "g" {
			t.Errorf("%s: %+v", what, pod.Sessions)
		}
		if len(pod.Incidents) == 0 || pod.Incidents[0].Kind != podstate.Rebalance {
			t.Errorf("%s: no rebalance among %+v", what, pod.Incidents)
		}
	}
	close(let)
	for what, source := range map[string]admin.Source{"by itself": c, "by its sidecar": sc} {
		shown(t, source, "done, "+what, func(x *podstate.Partition) bool { return x.Offsets.AckMark == 3 && x.Oldest == nil })
	}
	end()
	loop.Wait()
	if pod := status(t, c); len(pod.Partitions) != 0 || pod.Sessions[0].Process.Counters.Done != 3 {
		t.Errorf("at the end: %+v, %+v", pod.Partitions, pod.Sessions)
	}
	stop()
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}
