package sidecar_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/ackmark/ackmark/sidecar"
	"github.com/ackmark/ackmark/sidecar/sidecartest"
)

func TestConfigErrorsNameTheField(t *testing.T) {
	for field, change := range map[string]func(c *sidecar.Config){
		"Brokers":        func(c *sidecar.Config) { c.Brokers = nil },
		"Brokers ":       func(c *sidecar.Config) { c.Brokers = []string{"a:1,b:2"} },
		"Brokers  ":      func(c *sidecar.Config) { c.Brokers = []string{"a:port"} },
		"Linger":         func(c *sidecar.Config) { c.Linger = time.Minute },
		"Listen":         func(c *sidecar.Config) { c.Listen = "/tmp/x.sock" },
		"Listen ":        func(c *sidecar.Config) { c.Listen = "unix://relative" },
		"Listen  ":       func(c *sidecar.Config) { c.Listen = "unix:///" + strings.Repeat("x", 120) },
		"SocketMode":     func(c *sidecar.Config) { c.SocketMode = 0o777 },
		"TLS":            func(c *sidecar.Config) { c.Listen = "tcp://:1" },
		"TLS ":           func(c *sidecar.Config) { c.Listener, c.TLS = new(net.UnixListener), &tls.Config{} },
		"TLS.ClientAuth": func(c *sidecar.Config) { c.Listen, c.TLS = "tcp://:1", &tls.Config{} },
		"TLS.ClientCAs": func(c *sidecar.Config) {
			c.Listen, c.TLS = "tcp://:1", &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert}
		},
		"TLS.Certificates": func(c *sidecar.Config) {
			c.Listen, c.TLS = "tcp://:1", &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: x509.NewCertPool()}
		},
		"MaxBytes":        func(c *sidecar.Config) { c.MaxBytes = 1000 },
		"MaxRecords":      func(c *sidecar.Config) { c.MaxRecords = 100 },
		"MaxSessions":     func(c *sidecar.Config) { c.MaxSessions = -1 },
		"MaxConnections":  func(c *sidecar.Config) { c.MaxConnections = -1 },
		"MaxMessageBytes": func(c *sidecar.Config) { c.MaxMessageBytes = 1000 },
		"MaxRecordBytes":  func(c *sidecar.Config) { c.MaxRecordBytes = 1 },
		"ReportRing":      func(c *sidecar.Config) { c.ReportRing = -1 },
		"PartitionBytes":  func(c *sidecar.Config) { c.PartitionBytes = -1 },
		"DrainTimeout":    func(c *sidecar.Config) { c.DrainTimeout = -1 },
		"Apps[0].Name":    func(c *sidecar.Config) { c.Apps = []sidecar.App{{}} },
		"Apps[1].Name":    func(c *sidecar.Config) { c.Apps = []sidecar.App{{Name: "a"}, {Name: "a"}} },
		"Apps[0].Topics":  func(c *sidecar.Config) { c.Apps = []sidecar.App{{Name: "a", Topics: []string{"x*y"}}} },
	} {
		cfg := sidecar.Config{Brokers: []string{"localhost:9092"}}
		change(&cfg)
		_, err := sidecar.New(cfg)
		ce, ok := errors.AsType[*sidecar.ConfigError](err)
		if !ok || ce.Field != strings.TrimSpace(field) || ce.Remedy == "" {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestAllConfigErrorsAtOnce(t *testing.T) {
	_, err := sidecar.New(sidecar.Config{
		SocketMode: 0o777, ReportRing: -1, MaxSessions: -1, Listen: "x", Apps: []sidecar.App{{}, {Name: "b", Groups: []string{}}},
		Options: []kgo.Opt{kgo.DisableIdempotentWrite()},
	})
	for _, field := range []string{"Brokers", "SocketMode", "ReportRing", "MaxSessions", "Listen", "Apps[0].Name", "Apps[1].Groups", "Options[0] is kgo.DisableIdempotentWrite"} {
		if err == nil || !strings.Contains(err.Error(), "Config."+field) {
			t.Errorf("Config.%s is not in: %v", field, err)
		}
	}
}

func TestOptionsThatBreakAPromiseAreRefused(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for name, opts := range map[string][]kgo.Opt{
		"RequiredAcks":                       {kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite()}, // kgo wants both
		"DisableIdempotentWrite":             {kgo.DisableIdempotentWrite()},
		"TransactionalID":                    {kgo.TransactionalID("x")},
		"RecordRetries":                      {kgo.RecordRetries(3)},
		"RecordDeliveryTimeout":              {kgo.RecordDeliveryTimeout(time.Minute)},
		"StopProducerOnDataLossDetected":     {kgo.StopProducerOnDataLossDetected()},
		"MaxBufferedRecords":                 {kgo.MaxBufferedRecords(10)},
		"MaxBufferedBytes":                   {kgo.MaxBufferedBytes(10)},
		"ManualFlushing":                     {kgo.ManualFlushing()},
		"ProducerLinger":                     {kgo.ProducerLinger(time.Second)},
		"ProducerBatchMaxBytes":              {kgo.ProducerBatchMaxBytes(1000)},
		"DefaultProduceTopic":                {kgo.DefaultProduceTopic("x")},
		"RecordPartitioner":                  {kgo.RecordPartitioner(kgo.ManualPartitioner())},
		"WithContext":                        {kgo.WithContext(ctx)},
		"SeedBrokers":                        {kgo.SeedBrokers("elsewhere:1")},
		"ConsumeTopics":                      {kgo.ConsumeTopics("x")},
		"AllowIdempotentProduceCancellation": {kgo.AllowIdempotentProduceCancellation()},
		"UnknownTopicRetries":                {kgo.UnknownTopicRetries(9)},
	} {
		_, err := sidecar.New(sidecar.Config{Brokers: []string{"localhost:9092"}, Options: opts})
		ce, ok := errors.AsType[*sidecar.ConfigError](err)
		if !ok || !strings.Contains(err.Error(), " is kgo."+name+": ") || ce.Reason == "" || ce.Remedy == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	s, err := sidecar.New(sidecar.Config{Brokers: []string{"localhost:9092"}, Options: []kgo.Opt{kgo.ClientID("mine"), kgo.ProducerBatchCompression(kgo.ZstdCompression())}})
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
}

func TestUnreachableBrokersAreNamed(t *testing.T) {
	dead := freeAddr(t)
	var log strings.Builder
	sc := sidecartest.Start(t, []string{dead, "no.such.host.invalid:9092"}, func(c *sidecar.Config) {
		c.Logger = slog.New(slog.NewTextHandler(&log, nil))
	})
	err := sc.Check(context.Background())
	ue, ok := errors.AsType[*sidecar.UnreachableError](err)
	if !ok || len(ue.Errs) != 2 || !strings.Contains(err.Error(), dead+" (") || !strings.Contains(err.Error(), "refused") || !strings.Contains(err.Error(), "no.such.host.invalid:9092 (") {
		t.Fatalf("Check: %v", err)
	}
	health := healthpb.NewHealthClient(dial(t, sc.Target))
	for service, want := range map[string]healthpb.HealthCheckResponse_ServingStatus{
		"": healthpb.HealthCheckResponse_SERVING, "liveness": healthpb.HealthCheckResponse_SERVING, "readiness": healthpb.HealthCheckResponse_NOT_SERVING,
	} {
		resp, err := health.Check(context.Background(), &healthpb.HealthCheckRequest{Service: service})
		if err != nil || resp.GetStatus() != want {
			t.Errorf("health of %q: %v, %v", service, resp, err)
		}
	}
	for st, _ := sc.Status(context.Background()); !strings.Contains(st.GetKafkaError(), dead); st, _ = sc.Status(context.Background()) {
		time.Sleep(10 * time.Millisecond) // polling for the first check
	}
	if err := sc.Stop(); err != nil {
		t.Errorf("Stop with nothing to deliver: %v", err)
	}
	if !strings.Contains(log.String(), dead) {
		t.Errorf("the log does not name it: %s", log.String())
	}
}

// Linger alone is what its owner decided; without it, few records may wait longer.
func TestMaxLinger(t *testing.T) {
	for _, tt := range []struct {
		linger, most time.Duration // as set
		want, wrong  string
	}{
		{0, 0, "5ms to 25ms", ""},
		{5 * time.Millisecond, 0, "5ms to 5ms", ""},
		{40 * time.Millisecond, 0, "40ms to 40ms", ""},
		{0, 100 * time.Millisecond, "5ms to 100ms", ""},
		{-1, 0, "none", ""},
		{-1, time.Millisecond, "", "Config.MaxLinger is 1ms: leave it out"},
		{10 * time.Millisecond, 9 * time.Millisecond, "", "Config.MaxLinger is 9ms: at least Linger (10ms)"},
		{0, 11 * time.Second, "", "Config.MaxLinger is 11s: at most 10s"},
	} {
		c := sidecar.Config{Brokers: []string{"a:1"}, Linger: tt.linger, MaxLinger: tt.most}
		err := c.Validate()
		if tt.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), tt.wrong) {
				t.Errorf("%s, %s: %v, want %q", tt.linger, tt.most, err, tt.wrong)
			}
			continue
		}
		c = c.WithDefaults().WithDefaults()
		got := c.Linger.String() + " to " + c.MaxLinger.String()
		if c.Linger < 0 {
			got = "none"
		}
		if err != nil || got != tt.want {
			t.Errorf("%s, %s: %s, %v; want %s", tt.linger, tt.most, got, err, tt.want)
		}
	}
}
