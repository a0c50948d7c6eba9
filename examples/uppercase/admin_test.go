package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What deploy/compose/prometheus.yaml scrapes: by the name of the service, where ADMIN_HOSTS has
// it.
func TestPrometheusScrapesTheAdminPort(t *testing.T) {
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "in", "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := lis.Addr().String()
	_ = lis.Close()

	job, err := configure(env("KAFKA_BROKERS", strings.Join(broker.ListenAddrs(), ","), "SIDECAR", "direct", "ADMIN", address, "ADMIN_HOSTS", "app"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error)
	go func() { ended <- job.run(ctx) }()

	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	text := ""
	for deadline := time.Now().Add(30 * time.Second); !strings.Contains(text, "\nackmark_partition_lag_committed{"); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("scraped: %s", text)
		}
		text = scrape(t, address, "app:9404")
	}
	if text := scrape(t, address, "elsewhere:9404"); strings.Contains(text, "ackmark_partition") {
		t.Error("it answers to any name")
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func scrape(t *testing.T, address, host string) string {
	t.Helper()
	asks, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/metrics", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	asks.Host, asks.Close = host, true
	resp, err := http.DefaultClient.Do(asks)
	if err != nil {
		return err.Error() // it does not listen yet
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	return string(text)
}
