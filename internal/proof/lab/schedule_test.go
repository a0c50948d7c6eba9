package lab

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

// Defaults of TestSchedules: so many seeds, but no new one after so much real time.
const (
	schedules    = 60
	scheduleTime = 25 * time.Second
)

// TestSchedules lets random events loose on random pods, fewer of them with -short. ACKMARK_SEED=n
// replays one seed, ACKMARK_SEEDS=n runs n new ones, however long it takes.
func TestSchedules(t *testing.T) {
	if seed, ok := SeedFromEnv(); ok {
		Run(t, RandomConfig(seed), Schedule)
		return
	}
	n, limit := schedules, scheduleTime
	if testing.Short() {
		n = 10
	}
	if s := os.Getenv("ACKMARK_SEEDS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatalf("ACKMARK_SEEDS=%s: %v", s, err)
		}
		limit = time.Hour
	}
	base, begun := rand.Uint64()>>24, time.Now()
	for i := range n {
		if time.Since(begun) > limit {
			t.Logf("%d of %d schedules in %v", i, n, limit)
			return
		}
		seed := base + uint64(i)
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { Run(t, RandomConfig(seed), Schedule) })
	}
}

// Schedules that failed once, and may depend on the order in which goroutines run: each is played
// some times.
func TestSchedulesThatFailedOnce(t *testing.T) {
	times := 4
	if testing.Short() {
		times = 1
	}
	for seed, why := range map[uint64]string{
		702642669653:  "a will that was read twice forgot what its stays had inherited",
		768829144482:  "a will committed what its process had let go of a moment before, in the generation that stood",
		153822418591:  "the lab took a new sidecar for the old one: the dial had begun before",
		753497234548:  "a process that was stopped while it let go had not made its last commit",
		46959488018:   "a sidecar died that had closed the session of a stopped process, and its successor did not know",
		208016921876:  "a dial over a slow link went on when the lab had ended",
		900599882031:  "a will did not know what a former sidecar had written and not reported",
		1053357040763: "the embedded broker forgot a join, and the lab took the last commit that its member could not make any more for a fault",
		219009817972:  "a process that was cut off from its sidecar lost its partitions, and the checker thought that the sidecar knew",
		893933328626:  "a will counted what its process had done in a stay before the last",
	} {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			for range times {
				Run(t, RandomConfig(seed), Schedule)
			}
			if t.Failed() {
				t.Logf("before: %s", why)
			}
		})
	}
}
