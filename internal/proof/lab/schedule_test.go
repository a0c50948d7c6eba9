package lab

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/ackmark/ackmark/consumer"
)

// Defaults of TestSchedules: so many seeds, but no new one after so much real time.
const (
	schedules    = 60
	scheduleTime = 25 * time.Second

	schedulesExactly    = 4
	scheduleTimeExactly = 10 * time.Second
)

// TestSchedules lets random events loose on random pods, fewer of them with -short. ACKMARK_SEED=n
// replays one seed, ACKMARK_SEEDS=n runs n new ones, however long it takes.
func TestSchedules(t *testing.T) { seeds(t, schedules, scheduleTime, RandomConfig) }

// The same of pods that are exactly-once.
func TestSchedulesExactlyOnce(t *testing.T) {
	seeds(t, schedulesExactly, scheduleTimeExactly, RandomExactly)
}

func seeds(t *testing.T, n int, limit time.Duration, config func(seed uint64) Config) {
	if seed, ok := SeedFromEnv(); ok {
		Run(t, config(seed), Schedule)
		return
	}
	if testing.Short() {
		n = min(n, 10)
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
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { Run(t, config(seed), Schedule) })
	}
}

// Schedules that failed once, and may depend on the order in which goroutines run: each is played
// some times.
func TestSchedulesThatFailedOnce(t *testing.T) {
	times := 4
	if testing.Short() {
		times = 1
	}
	play := func(protocol consumer.Protocol, seed uint64, why string) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			for range times {
				cfg := RandomConfig(seed)
				cfg.Protocol = protocol
				Run(t, cfg, Schedule)
			}
			if t.Failed() {
				t.Logf("before: %s", why)
			}
		})
	}
	play(consumer.ConsumerProtocol, 599360478021, "the embedded broker took a static member back that had left for now, the checker did not")
	play(consumer.ConsumerProtocol, 923012958916, "a member came back under its id after its will had left for it, and the checker took it for gone")
	play(consumer.ConsumerProtocol, 555577239754, "kgo began its session anew without a pause, while its brokers refused connections")
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
		976156375274:  "a sidecar that stood still closed the session of a living process and stopped, before that could hear of it: the next one does not know",
		620101085809:  "a process that was cut off committed below its will, which repaired it, and the checker knew that of the dead only",
		620101085606:  "the client lost a wake-up: a partition that was lost and assigned in one instant was not fetched any more",
		893933328626:  "a will counted what its process had done in a stay before the last",
	} {
		play(consumer.ClassicProtocol, seed, why) // there was no other one yet
	}
}
