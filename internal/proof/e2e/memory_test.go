package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"testing"
	"time"
)

// Two processes under a memory limit, before a backlog of records of 1 MB that compress a
// thousandfold and are sixteen times the limit together. While every handler stalls nobody dies:
// the consumers' budgets hold. A handler that leaks is killed at the limit, again and again, and
// then nothing is lost and nothing emitted twice: its sidecar finishes for it. Which limit ran (a
// cgroup's, or SIGKILL at that resident set) is in the log.
func TestMemoryLimit(t *testing.T) {
	s := newScenario(t, brokers(t))
	demo := s.start("demo", build(t, "ackmark"), nil, "demo", "--memory-limit", "160MiB", "--brokers", s.kafka.Brokers(), "--seed", "1", "--json")
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	code, err := demo.Wait(ctx)
	if err != nil {
		s.stacks(demo)
		t.Fatal(err)
	}
	data, _ := os.ReadFile(demo.Log)
	begin := bytes.IndexByte(data, '{')
	if begin < 0 {
		t.Fatalf("exit code %d, no result:\n%s", code, tail(demo, 40))
	}
	var got struct {
		Limit     int64  `json:"limit_bytes"`
		Mechanism string `json:"mechanism"`
		Stalled   phase  `json:"stalled"`
		Leaking   phase  `json:"leaking"`
		Ackmark   struct{ Inputs, Lost, Duplicated, Reordered int }
		Problems  []string
	}
	if err := json.NewDecoder(bytes.NewReader(data[begin:])).Decode(&got); err != nil {
		t.Fatalf("exit code %d: %v\n%s", code, err, tail(demo, 40))
	}
	t.Logf("%s; stalled: peak %d of %d MiB, %d deaths; leaking: %d deaths; %+v", got.Mechanism, got.Stalled.Peak>>20, got.Limit>>20, got.Stalled.Deaths,
		got.Leaking.Deaths, got.Ackmark)
	if a := got.Ackmark; code != 0 || a.Inputs == 0 || a.Lost+a.Duplicated+a.Reordered > 0 || len(got.Problems) > 0 {
		t.Errorf("exit code %d, %+v, %q", code, a, got.Problems)
	}
	if got.Stalled.Deaths > 0 || got.Stalled.Peak >= got.Limit {
		t.Errorf("the budget did not hold: peak %d of %d MiB, %d deaths", got.Stalled.Peak>>20, got.Limit>>20, got.Stalled.Deaths)
	}
	if got.Leaking.Deaths == 0 {
		t.Error("nobody died of the leak")
	}
}

type phase struct {
	Peak   int64 `json:"peak_bytes"`
	Deaths int   `json:"deaths"`
}
