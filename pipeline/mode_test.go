package pipeline_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/producer"
)

// What would break exactly-once is refused with field and remedy, and connects to nothing.
func TestExactlyOnceRefuses(t *testing.T) {
	brokers := []string{"localhost:1"}
	good := func() pipeline.Config {
		return pipeline.Config{
			Mode:     pipeline.ExactlyOnce,
			Consumer: consumer.Config{Brokers: brokers, Group: "g", Topics: []string{"in"}},
			Producer: producer.Direct(producer.DirectConfig{Brokers: brokers, TransactionalID: "id"}),
			Handler:  pipeline.HandlerFunc(func(context.Context, *consumer.Message) ([]producer.Record, error) { return nil, nil }),
		}
	}
	for field, change := range map[string]func(*pipeline.Config){
		"Mode":                     func(c *pipeline.Config) { c.Mode = 7 },
		"Producer":                 func(c *pipeline.Config) { c.Producer = producer.Direct(producer.DirectConfig{Brokers: brokers}) },
		"Producer ":                func(c *pipeline.Config) { c.Producer = nil },
		"Consumer.CommitEvery":     func(c *pipeline.Config) { c.Consumer.CommitEvery = time.Second },
		"Consumer.CommitAfter":     func(c *pipeline.Config) { c.Consumer.CommitAfter = 5 },
		"Consumer.AllowEager":      func(c *pipeline.Config) { c.Consumer.AllowEager = true },
		"Consumer.CommitElsewhere": func(c *pipeline.Config) { c.Mode, c.Consumer.CommitElsewhere = pipeline.AtLeastOnce, true },
		"Consumer.StateDir":        func(c *pipeline.Config) { c.Consumer.StateDir = t.TempDir() },
	} {
		cfg := good()
		unused := cfg.Producer
		change(&cfg)
		p, err := pipeline.New(cfg)
		if err == nil {
			_ = p.Close()
		}
		for _, out := range []producer.Producer{unused, cfg.Producer} { // it is the pipeline's from a successful New on
			if out != nil {
				_ = out.Close()
			}
		}
		if e, ok := errors.AsType[*pipeline.ConfigError](err); !ok || e.Field != trimmed(field) || e.Remedy == "" {
			t.Errorf("%s: %v", field, err)
		}
	}
	p, err := pipeline.New(good())
	if err != nil {
		t.Fatal(err)
	}
	_ = p.Close()
}

func trimmed(s string) string {
	for len(s) > 0 && s[len(s)-1] == ' ' {
		s = s[:len(s)-1]
	}
	return s
}

func TestModeText(t *testing.T) {
	for text, want := range map[string]pipeline.Mode{"": pipeline.AtLeastOnce, "at-least-once": pipeline.AtLeastOnce, "exactly-once": pipeline.ExactlyOnce} {
		var m pipeline.Mode
		if err := m.UnmarshalText([]byte(text)); err != nil || m != want {
			t.Errorf("%q is %v, %v", text, m, err)
		}
	}
	var m pipeline.Mode
	if err := m.UnmarshalText([]byte("once")); err == nil {
		t.Error(`"once" is a mode`)
	}
}
