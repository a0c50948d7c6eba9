package e2e

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/ackmark/ackmark/internal/proof/kafkatest"
)

const (
	// benchEnv has the arguments of the bench that is to be run on a real broker: `make
	// processes-kafka`, `make session-kafka`.
	benchEnv = "ACKMARK_BENCH"
	// benchBrokersEnv is on how many of them: 1 (the default) or 3.
	benchBrokersEnv = "ACKMARK_BENCH_BROKERS"
)

// TestBenchOnKafka runs `ackmark bench` on a real broker whose processor time it measures: with two
// processes and few records, so that it is known to work there, or with what ACKMARK_BENCH says.
func TestBenchOnKafka(t *testing.T) {
	cfg := kafkatest.Config{}
	args := []string{"--only", "processes,scale,session", "--processes", "2", "--sessions", "2", "--partition-counts", "12", "--pairs", "1", "--records", "2000"}
	if text := os.Getenv(benchEnv); text != "" {
		args = strings.Fields(text)
		// As bench/peers has them: a broker of its own size, which a busy machine does not fence.
		cfg = kafkatest.Config{HeapMB: 1024, Properties: map[string]string{
			"log.segment.delete.delay.ms": "100", "broker.session.timeout.ms": "9000", "broker.heartbeat.interval.ms": "2000",
		}}
		cfg.Brokers, _ = strconv.Atoi(os.Getenv(benchBrokersEnv))
	} else {
		t.Parallel() // it mostly waits, and nothing that it measures is judged
	}
	kafka := kafkatest.Start(t, cfg)
	args = append([]string{"bench", "--brokers", strings.Join(kafka.Addrs(), ",")}, args...)
	known := len(kafka.PIDs()) > 0
	if known {
		var pids []string
		for _, pid := range kafka.PIDs() {
			pids = append(pids, strconv.Itoa(pid))
		}
		args = append(args, "--broker-pids", strings.Join(pids, ","))
	}
	load, _ := os.ReadFile("/proc/loadavg") // "": not Linux
	var progress strings.Builder
	cmd := exec.CommandContext(t.Context(), build(t, "ackmark"), args...)
	cmd.Stderr = &progress
	if os.Getenv(benchEnv) != "" {
		cmd.Stderr = os.Stderr
	}
	out, err := cmd.Output()
	t.Logf("load of the machine before: %sackmark %s\n%s", load, strings.Join(args, " "), out)
	if err != nil {
		t.Fatalf("%v\n%s", err, &progress)
	}
	if !strings.Contains(string(out), "Counts: every input came out once") {
		t.Error("nothing is said of the counts")
	}
}
