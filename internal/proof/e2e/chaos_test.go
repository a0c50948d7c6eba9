package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ackmark/ackmark/internal/proof/chaos"
	"github.com/ackmark/ackmark/internal/proof/kafkatest"
)

// The faults of docs/faults.md on three real brokers of its own, brokers killed too: `make chaos`
// runs all of it, `go test` a short cut. With ACKMARK_SOAK=30m it is a soak instead.
func TestChaos(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a minute")
	}
	soak, err := time.ParseDuration(os.Getenv("ACKMARK_SOAK"))
	if err != nil && os.Getenv("ACKMARK_SOAK") != "" {
		t.Fatalf("ACKMARK_SOAK: %v: give a duration like 30m", err)
	}
	kafka := kafkatest.Start(t, kafkatest.Config{Brokers: 3})
	kafka.CanBreak()
	env := chaos.Env{Addrs: kafka.Addrs(), Brokers: kafka, Executable: filepath.Join(build(t, "ackmark")), ChildArgs: []string{"chaos", "child"},
		Rate: 1000, Seed: uint64(time.Now().UnixNano()) % 1_000_000, Rows: []int{1, 4, 10, 14, 26}, Progress: os.Stderr}
	if os.Getenv("ACKMARK_CHAOS") == "all" {
		env.Rows = nil
	}
	if soak > 0 {
		env.Rate = 1800
	}
	if err := env.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer env.Close()
	t.Logf("seed %d", env.Seed)
	if soak > 0 {
		r, err := env.Soak(t.Context(), soak)
		report, flat := r.Flat()
		chaos.Table(os.Stderr, []chaos.Result{r})
		t.Logf("%s\n%s", report, r.Details)
		if err != nil || !flat {
			t.Errorf("%v, flat %t", err, flat)
		}
		return
	}
	all, err := env.Run(t.Context())
	var table strings.Builder
	chaos.Table(&table, all)
	t.Logf("\n%s", table.String())
	if err != nil {
		t.Error(err)
	}
	for _, r := range all {
		if r.Details != "" {
			t.Logf("fault %d:\n%s", r.Row, r.Details)
		}
	}
}
