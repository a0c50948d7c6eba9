package e2e

import (
	"context"
	"testing"
	"time"
)

// The demo on a real cluster: its own generator, kills and reader. Exit code 0 says that Ackmark's
// side lost nothing; its table is in the log.
func TestDemo(t *testing.T) {
	t.Parallel()
	s := newScenario(t, brokers(t))
	demo := s.start("demo", build(t, "ackmark"), nil, "demo", "--brokers", s.kafka.Brokers(), "--seed", "1", "--kills", "2", "--records", "8000")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	code, err := demo.Wait(ctx)
	if err != nil {
		s.stacks(demo)
		t.Fatal(err)
	}
	t.Logf("exit code %d\n%s", code, tail(demo, 25))
	if code != 0 {
		t.Errorf("the demo: %s", demo.State())
	}
}
