package demo

import (
	"math/rand/v2"
	"time"
)

// kill is one SIGKILL on each side: the process with this index, at this time after the generator's
// start.
type kill struct {
	at     time.Duration
	victim int
}

// killSchedule spreads the kills over the load, with jitter from the seed: the same seed gives the
// same schedule.
func killSchedule(p plan) []kill {
	rng := rand.New(rand.NewPCG(p.Seed, 0x61636b6d61726b))
	first := min(firstKill, p.duration/3)
	gap := (p.duration - first) / time.Duration(max(p.Kills, 1))
	kills := make([]kill, p.Kills)
	for i := range kills {
		jitter := time.Duration((rng.Float64() - 0.5) * float64(min(gap/3, 500*time.Millisecond)))
		kills[i] = kill{at: max(first+time.Duration(i)*gap+jitter, 0), victim: rng.IntN(p.Processes)}
	}
	return kills
}

// The generator's load comes in bursts, as real load does: for 40 % of every two seconds 2.2 times
// the average, else a fifth of it.
const (
	burstCycle = 2 * time.Second
	burstShare = 0.4
	burstRate  = 2.2
	calmRate   = 0.2
)

// due is how many records are due this long after the start, at this average rate.
func due(elapsed time.Duration, rate float64) int {
	cycles := float64(elapsed / burstCycle)
	into := (elapsed % burstCycle).Seconds() / burstCycle.Seconds()
	share := min(into, burstShare)*burstRate + max(into-burstShare, 0)*calmRate
	return int((cycles + share) * rate * burstCycle.Seconds())
}
