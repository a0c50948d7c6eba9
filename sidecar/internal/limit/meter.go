package limit

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Meter counts bytes and records that are held, against limits that it reports and does not
// enforce: its users wait, refuse, or go on. The hot calls are one atomic addition each.
type Meter struct {
	// used packs both quantities, so that one addition counts a record: records above, bytes in the
	// lower 40 bits (1 TiB).
	used       atomic.Int64
	maxBytes   atomic.Int64
	maxRecords atomic.Int64

	waiters atomic.Int32
	mu      sync.Mutex
	freed   chan struct{} // closed when the low mark is reached and somebody waits; mu

	asked    atomic.Bool  // for how fast it drains; before that nobody counts what is given back
	released atomic.Int64 // packed: what was given back since, modulo 2⁶⁴, for the rate
	rate     drainRate    // mu
}

const byteBits = 40

func packed(bytes, records int64) int64 { return records<<byteBits + bytes }

func unpacked(v int64) (bytes, records int64) { return v & (1<<byteBits - 1), v >> byteBits }

// NewMeter makes one that is empty.
func NewMeter(maxBytes int64, maxRecords int) *Meter {
	m := new(Meter)
	m.Limit(maxBytes, maxRecords)
	return m
}

// Limit sets the limits. What is held above a lower one stays until it is given back.
func (m *Meter) Limit(maxBytes int64, maxRecords int) {
	m.maxBytes.Store(maxBytes)
	m.maxRecords.Store(int64(maxRecords))
	m.wake() // who waits looks again
}

// Add counts, and tells whether the meter is at or over its limit now.
func (m *Meter) Add(bytes, records int64) (over bool) {
	return m.isOver(m.used.Add(packed(bytes, records)))
}

// TryAdd counts if that keeps the limit, or if nothing else is held: one that is larger than the
// whole passes alone.
func (m *Meter) TryAdd(bytes, records int64) bool {
	for {
		old := m.used.Load()
		b, r := unpacked(old)
		if old != 0 && (b+bytes > m.maxBytes.Load() || r+records > m.maxRecords.Load()) {
			return false
		}
		if m.used.CompareAndSwap(old, old+packed(bytes, records)) {
			return true
		}
	}
}

// Sub gives back what was counted.
func (m *Meter) Sub(bytes, records int64) {
	left := m.used.Add(-packed(bytes, records))
	if m.asked.Load() {
		m.released.Add(packed(bytes, records))
	}
	// A waiter counts itself before it looks at used a last time; here it is the other way round.
	// So one of the two sees the other.
	if m.waiters.Load() > 0 && m.isLow(left) {
		m.wake()
	}
}

// Held is what is held now.
func (m *Meter) Held() (bytes, records int64) { return unpacked(m.used.Load()) }

// Used is how much of its limit is held, of bytes or of records, whichever is more.
func (m *Meter) Used() float64 {
	bytes, records := m.Held()
	return max(Part(bytes, m.maxBytes.Load()), Part(records, m.maxRecords.Load()))
}

// Part is a number as a part of a whole; nothing of nothing is nothing.
func Part(n, whole int64) float64 {
	if whole <= 0 {
		return 0
	}
	return float64(n) / float64(whole)
}

// Empty tells that nothing is held.
func (m *Meter) Empty() bool { return m.used.Load() == 0 }

func (m *Meter) wake() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.freed != nil {
		close(m.freed)
		m.freed = nil
	}
}

// Over tells whether the meter is at or over its limit.
func (m *Meter) Over() bool { return m.isOver(m.used.Load()) }

func (m *Meter) isOver(v int64) bool {
	b, r := unpacked(v)
	return b >= m.maxBytes.Load() || r >= m.maxRecords.Load()
}

// isLow is a quarter below the limit: without that distance a waiter would be woken for every
// single record.
func (m *Meter) isLow(v int64) bool {
	b, r := unpacked(v)
	return b <= m.maxBytes.Load()/4*3 && r <= m.maxRecords.Load()/4*3
}

// Wait returns when the meter is not over its limit, or with the context's cause. Who had to wait
// goes on only at the low mark.
func (m *Meter) Wait(ctx context.Context) error {
	if !m.Over() {
		return nil
	}
	m.waiters.Add(1)
	defer m.waiters.Add(-1)
	for {
		freed := m.signal()
		if m.isLow(m.used.Load()) {
			return nil
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (m *Meter) signal() chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.freed == nil {
		m.freed = make(chan struct{})
	}
	return m.freed
}

const (
	minRetryAfter = 5 * time.Millisecond
	maxRetryAfter = time.Minute
	// stillRetryAfter is told of a meter that stands still: nobody knows for how long.
	stillRetryAfter = 5 * time.Second
	rateWindow      = 100 * time.Millisecond
	// rateStale is the age at which a rate says nothing of now.
	rateStale = 10 * time.Second
)

// drainRate is how fast a meter drains, measured between refusals.
type drainRate struct {
	from           time.Time
	released       int64
	known          bool
	bytes, records float64 // per second
}

// measure takes another sample, and tells whether a rate is known.
func (d *drainRate) measure(now time.Time, released int64) bool {
	dt := now.Sub(d.from)
	switch {
	case d.from.IsZero() || dt >= rateStale:
		*d = drainRate{from: now, released: released}
	case dt >= rateWindow:
		bytes, records := unpacked(released - d.released)
		*d = drainRate{now, released, true, float64(bytes) / dt.Seconds(), float64(records) / dt.Seconds()}
	}
	return d.known
}

// until is the time until so much has drained.
func until(over int64, rate float64) time.Duration {
	switch {
	case over <= 0:
		return 0
	case rate <= 0:
		return stillRetryAfter
	}
	return time.Duration(min(float64(over)/rate, maxRetryAfter.Seconds()) * float64(time.Second))
}

// RetryAfter estimates, from how fast the meter drains, when it will be at the low mark in bytes
// and in records.
func (m *Meter) RetryAfter() time.Duration {
	m.asked.Store(true)
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.rate.measure(time.Now(), m.released.Load()) {
		return rateWindow // nothing is known yet; the next refusal will know
	}
	bytes, records := unpacked(m.used.Load())
	wait := max(until(bytes-m.maxBytes.Load()/4*3, m.rate.bytes), until(records-m.maxRecords.Load()/4*3, m.rate.records))
	return min(max(wait, minRetryAfter), maxRetryAfter)
}

// String is what is held, for people.
func (m *Meter) String() string {
	bytes, records := unpacked(m.used.Load())
	return fmt.Sprintf("%d bytes and %d records", bytes, records)
}
