package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// childEnv makes the test binary a child of the bench.
const childEnv = "ACKMARK_BENCH_TEST_CHILD"

func init() {
	if os.Getenv(childEnv) == "" {
		return
	}
	if err := RunChild(context.Background(), os.Stdin, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// The whole bench with few records: processes, counts, commits, read-back, tables. What it measures
// is not looked at.
func TestBenchEndToEnd(t *testing.T) {
	if testing.Short() {
		t.Skip("starts some twenty processes: not with -short")
	}
	t.Setenv(childEnv, "1")
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	err = Run(t.Context(), Options{
		Records: 5000, Pairs: 1, Partitions: 3, Only: []string{partLibrary, partSidecar, partControls, partMemory, partMetrics, partState, partProcesses, partScale, partOneCPU, partSession},
		Processes: []int{2}, Sessions: []int{2}, PartitionCounts: []int{5},
		RoundTrip: 2 * time.Millisecond, paced: 500 * time.Millisecond,
		JSON: true, Executable: executable, Stdout: &stdout, Stderr: &stderr,
	})
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, &stderr, &stdout)
	}
	var r Result
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		t.Fatalf("%v in\n%s", err, &stdout)
	}
	if len(r.Unread) != len(unreadSizes) {
		t.Errorf("counting for nobody was measured for %d sizes of calls, want %d", len(r.Unread), len(unreadSizes))
	}
	for _, name := range []string{
		bare, library, viaSidecar, consumeBare, consumeLibrary, library + idle, viaSidecar + idle, library + scraped, viaSidecar + scraped,
		library + kept, viaSidecar + kept, viaSidecar + oneCPU,
	} {
		c := r.contestant(name)
		if len(c.Runs) != 1 {
			t.Fatalf("%s ran %d times:\n%s", name, len(c.Runs), &stdout)
		}
		if run := c.Runs[0]; run.Wall <= 0 || run.App.Mallocs == 0 || run.Committed != 5000 {
			t.Errorf("%s: %+v", name, run)
		} else if was := run.Scrapes > 0; was != strings.HasSuffix(name, scraped) {
			t.Errorf("%s was scraped %d times", name, run.Scrapes)
		}
	}
	if s := r.contestant(viaSidecar).Runs[0].Sidecar; s == nil || s.ProduceRequests == 0 {
		t.Errorf("the sidecar produced nothing: %+v", s)
	}
	if len(r.Pods) != 2 {
		t.Fatalf("%d pods, want one saturated and one paced", len(r.Pods))
	}
	for _, pod := range r.Pods {
		for _, way := range pod.Modes {
			if run := way.Runs[0]; run.produceRequests() == 0 || run.BrokersCPU == nil || pod.Paced != (run.P99 > 0) {
				t.Errorf("%s, paced %v: %+v", way.Name, pod.Paced, run)
			}
		}
	}
	if r.Scale == nil || len(r.Scale.Sessions) != 1 || len(r.Scale.Partitions) != 1 {
		t.Fatalf("the scale: %+v", r.Scale)
	}
	if p := r.Scale.Sessions[0]; p.Processes != 2 || p.Speed.Median <= 0 || p.Idle == nil || p.Idle.Median <= 0 || len(p.Modes[1].Runs) != 1 {
		t.Errorf("two sessions: %+v", p)
	}
	if p := r.Scale.Partitions[0]; p.Partitions != 5 || len(p.Contestants) != 3 || len(p.Ratios) != 2 || p.Contestants.named(viaSidecar).Runs[0].Committed != 5000 {
		t.Errorf("five partitions: %+v", p)
	}
	sessionRan(t, &r)
	if r.Memory == nil || r.Memory.After == 0 {
		t.Errorf("the memory run: %+v", r.Memory)
	}
}
