package main

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/consumer"
)

func env(changes ...string) func(string) string {
	vars := map[string]string{
		"KAFKA_BROKERS": "b1:9092,b2:9092", "GROUP": "g", "INPUT": "in", "OUTPUT": "out", "SIDECAR": "unix:///nowhere.sock", "WORK": "5ms", "CONCURRENCY": "3",
	}
	for i := 0; i < len(changes); i += 2 {
		vars[changes[i]] = changes[i+1]
	}
	return func(name string) string { return vars[name] }
}

func TestBadEnvironmentIsNamed(t *testing.T) {
	for _, name := range []string{"KAFKA_BROKERS", "GROUP", "INPUT", "OUTPUT", "SIDECAR"} {
		if _, err := configure(env(name, "")); err == nil || err.Error() != name+" is not set" {
			t.Errorf("without %s: %v", name, err)
		}
	}
	for name, values := range map[string][]string{"WORK": {"5", "-1s", "soon"}, "CONCURRENCY": {"-1", "many", "1.5"}} {
		for _, value := range values {
			if _, err := configure(env(name, value)); err == nil || !strings.Contains(err.Error(), name+" is \""+value+"\"") {
				t.Errorf("%s=%s: %v", name, value, err)
			}
		}
	}
	if _, err := configure(env("PROTOCOL", "newest")); err == nil || !strings.Contains(err.Error(), `"newest": use classic, consumer or auto`) {
		t.Errorf("PROTOCOL=newest: %v", err)
	}
}

func TestProtocol(t *testing.T) {
	for text, want := range map[string]consumer.Protocol{
		"": 0, "classic": consumer.ClassicProtocol, "consumer": consumer.ConsumerProtocol, "Auto": consumer.AutoProtocol,
	} {
		cfg, err := configure(env("PROTOCOL", text, "SIDECAR", "direct"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cfg.Producer.Close() })
		if cfg.Consumer.Protocol != want {
			t.Errorf("PROTOCOL=%s is %s", text, cfg.Consumer.Protocol)
		}
	}
}

func TestConfigure(t *testing.T) {
	for _, sidecar := range []string{"unix:///nowhere.sock", "direct"} {
		cfg, err := configure(env("SIDECAR", sidecar))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cfg.Producer.Close() })
		if got := strings.Join(cfg.Consumer.Brokers, " "); got != "b1:9092 b2:9092" || cfg.Concurrency != 3 {
			t.Errorf("brokers %q, concurrency %d", got, cfg.Concurrency)
		}
		out, err := cfg.Handler.Handle(t.Context(), &consumer.Message{Record: &kgo.Record{Key: []byte("k"), Value: []byte("value")}})
		if err != nil || len(out) != 1 || out[0].Topic != "out" || string(out[0].Key) != "k" || string(out[0].Value) != "VALUE" {
			t.Errorf("outputs %+v, %v", out, err)
		}
	}
}

func TestWorkEndsWithThePartition(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(consumer.ErrRevoked)
	cfg, err := configure(env("WORK", "10m", "SIDECAR", "direct"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cfg.Producer.Close() })
	if _, err := cfg.Handler.Handle(ctx, &consumer.Message{Record: &kgo.Record{}}); !errors.Is(err, consumer.ErrRevoked) {
		t.Fatalf("error %v", err)
	}
}
