package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/producer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestServe(t *testing.T) {
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "orders", "orders.checked", "orders.dead"))
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	lis, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	meters, metrics, err := newMetrics()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		ended <- serve(ctx, lis, metrics, pipeline.Config{
			Consumer: consumer.Config{Brokers: broker.ListenAddrs(), Group: "checker", Topics: []string{"orders"}},
			Producer: producer.Direct(producer.DirectConfig{Brokers: broker.ListenAddrs(), Logger: quiet, MeterProvider: meters}),
			Logger:   quiet, MeterProvider: meters,
		})
	}()
	url := "http://" + lis.Addr().String()
	until(t, url+"/readyz", "ready")

	cl, err := kgo.NewClient(kgo.SeedBrokers(broker.ListenAddrs()...), kgo.DefaultProduceTopic("orders"))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for _, v := range []string{`{"id":"a","cents":5}`, `{"id":"b","cents":-1}`, `junk`} {
		if err := cl.ProduceSync(ctx, kgo.StringRecord(v)).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	until(t, url+"/lag", `{"dead_letters":2,"done":3,"lag":0}`)
	until(t, url+"/api/status", `"topic":"orders"`)
	until(t, url+"/", "<title>Ackmark</title>")
	for _, want := range []string{"ackmark_partition_lag_committed{", "ackmark_pipeline_dead_letters_total{", "messaging_client_sent_messages_total{"} {
		until(t, url+"/metrics", "\n"+want)
	}
	http.DefaultClient.CloseIdleConnections()
	stop()
	if err := <-ended; err != nil {
		t.Errorf("serve returned %v", err)
	}
	if got := broker.GroupInfo("checker").Commits["orders"][0].Offset; got != 3 {
		t.Errorf("committed %d", got)
	}
}

// until asks until the answer contains want.
func until(t *testing.T, url, want string) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	var last string
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); <-tick.C {
		resp, err := http.Get(url)
		if err != nil {
			last = err.Error()
			continue
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if last = string(body); resp.StatusCode == http.StatusOK && strings.Contains(last, want) {
			return
		}
	}
	t.Fatalf("%s: want %q, last answer %q", url, want, last)
}
