package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ackmark/ackmark/internal/proof/chaos"
	"github.com/ackmark/ackmark/internal/proof/kafkatest"
	"github.com/ackmark/ackmark/pipeline"
)

// The faults of docs/faults.md on three real brokers of its own, brokers killed too: `make chaos`
// runs all of it, `go test` a short cut, ACKMARK_CHAOS=9,12 those rows, ACKMARK_PROTOCOL=consumer
// in groups of the consumer protocol, ACKMARK_MODE=exactly-once in transactions of the sidecar.
// With ACKMARK_SOAK=30m it is a soak instead.
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
		Protocol: protocolUnderTest, Rate: 1000, Seed: uint64(time.Now().UnixNano()) % 1_000_000, Rows: []int{1, 4, 10, 14, 26}, Progress: os.Stderr, ExactlyOnce: exactlyOnceAsked(t)}
	switch list := os.Getenv("ACKMARK_CHAOS"); list {
	case "":
	case "all":
		env.Rows = nil
	default:
		env.Rows = nil
		for text := range strings.SplitSeq(list, ",") {
			row, err := strconv.Atoi(text)
			if err != nil {
				t.Fatalf("ACKMARK_CHAOS=%s: give all, or rows as in 9,12", list)
			}
			env.Rows = append(env.Rows, row)
		}
	}
	if soak > 0 {
		env.Rate = 1800
	}
	if err := env.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer env.Close()
	t.Logf("seed %d, group protocol %s", env.Seed, env.Protocol)
	if soak > 0 {
		r, err := env.Soak(t.Context(), soak)
		report, flat := r.Flat()
		chaos.Table(os.Stderr, []chaos.Result{r})
		t.Logf("%s\n%s", report, r.Details)
		if env.ExactlyOnce {
			t.Logf("%d transactions were seen open, for %s (p50), %s (p99), %s at most", r.Transactions, r.OpenP50, r.OpenP99, r.OpenMax)
			if r.OpenP99 > openLimit || r.Transactions == 0 {
				t.Errorf("the limit is %s (p99)", openLimit)
			}
		}
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

// openLimit is how long transactions may be open in a soak (p99).
const openLimit = 500 * time.Millisecond

// exactlyOnceAsked tells whether ACKMARK_MODE asks for it.
func exactlyOnceAsked(t *testing.T) bool {
	t.Helper()
	var mode pipeline.Mode
	if err := mode.UnmarshalText([]byte(os.Getenv("ACKMARK_MODE"))); err != nil {
		t.Fatalf("ACKMARK_MODE: %v", err)
	}
	return mode == pipeline.ExactlyOnce
}
