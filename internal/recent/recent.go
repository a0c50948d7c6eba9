package recent

import (
	"math/bits"
	"sync"
	"time"
)

const (
	// Length is how far back a Window looks: what is older by a slot is forgotten.
	Length = slots * slot
	slots  = 6
	slot   = 5 * time.Second

	// Microseconds up to steps are told apart, and of larger ones steps in each power of two: what
	// is read is at most a 32nd off. All from the last power on, 134 s, are one.
	stepBits = 4
	steps    = 1 << stepBits
	ranges   = 24
	buckets  = (ranges + 1) * steps
)

// Window counts durations of the last while. The zero value has none.
type Window struct {
	mu   sync.Mutex
	ring [slots]struct {
		since  time.Time
		counts [buckets]uint32
	}
	at int
}

// Add counts a duration that was measured now, n times.
func (w *Window) Add(now time.Time, d time.Duration, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := &w.ring[w.at]
	if now.Sub(at.since) >= slot {
		w.at = (w.at + 1) % slots
		at = &w.ring[w.at]
		clear(at.counts[:])
		at.since = now
	}
	at.counts[bucket(d)] += uint32(n)
}

// Quantiles are the durations below which so much of those of the last while lay, as parts of 1,
// and how many these were. Without any they are 0.
func (w *Window) Quantiles(now time.Time, parts ...float64) (durations []time.Duration, count uint64) {
	var all [buckets]uint64
	w.mu.Lock()
	for i := range w.ring {
		r := &w.ring[i]
		if r.since.IsZero() || now.Sub(r.since) >= Length {
			continue
		}
		for b, n := range r.counts {
			all[b] += uint64(n)
			count += uint64(n)
		}
	}
	w.mu.Unlock()
	durations = make([]time.Duration, len(parts))
	for i, part := range parts {
		durations[i] = quantile(&all, count, part)
	}
	return durations, count
}

func quantile(all *[buckets]uint64, count uint64, part float64) time.Duration {
	if count == 0 {
		return 0
	}
	rank, below := uint64(part*float64(count)), uint64(0)
	rank = min(rank, count-1)
	for b, n := range all {
		if below += n; below > rank {
			return middle(b)
		}
	}
	return middle(buckets - 1)
}

// bucket is which one counts a duration.
func bucket(d time.Duration) int {
	us := uint64(max(d, 0) / time.Microsecond)
	if us < steps {
		return int(us)
	}
	power := bits.Len64(us) - 1 - stepBits
	if power >= ranges {
		return buckets - 1
	}
	return (power+1)*steps + int(us>>power)&(steps-1)
}

// middle is the middle of what a bucket counts.
func middle(b int) time.Duration {
	if b < steps {
		return time.Duration(b) * time.Microsecond
	}
	power := b/steps - 1
	return time.Duration(uint64(steps+b%steps)<<power+uint64(1)<<power/2) * time.Microsecond
}
