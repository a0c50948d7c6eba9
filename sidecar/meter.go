package sidecar

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// meter counts bytes and records that are held, against limits that it reports and does not enforce: its users wait, refuse, or go on.
// The hot calls are one atomic addition each.
type meter struct {
	// used packs both quantities, so that one addition counts a record: records above, bytes in the lower 40 bits (1 TiB).
	used       atomic.Int64
	maxBytes   int64
	maxRecords int64

	waiters atomic.Int32
	mu      sync.Mutex
	freed   chan struct{} // closed when the low mark is reached and somebody waits; mu

	released  atomic.Int64 // bytes ever given back, for the rate
	rateFrom  time.Time    // mu
	rateBytes int64        // mu
	rate      float64      // bytes per second; mu
}

const byteBits = 40

func packed(bytes, records int64) int64 { return records<<byteBits + bytes }

func unpacked(v int64) (bytes, records int64) { return v & (1<<byteBits - 1), v >> byteBits }

func newMeter(maxBytes int64, maxRecords int) *meter {
	m := new(meter)
	m.limit(maxBytes, maxRecords)
	return m
}

func (m *meter) limit(maxBytes int64, maxRecords int) {
	m.maxBytes, m.maxRecords = maxBytes, int64(maxRecords)
}

// add counts, and tells whether the meter is at or over its limit now.
func (m *meter) add(bytes, records int64) (over bool) {
	return m.isOver(m.used.Add(packed(bytes, records)))
}

// tryAdd counts if that keeps the limit, or if nothing else is held: one that is larger than the whole passes alone.
func (m *meter) tryAdd(bytes, records int64) bool {
	for {
		old := m.used.Load()
		b, r := unpacked(old)
		if old != 0 && (b+bytes > m.maxBytes || r+records > m.maxRecords) {
			return false
		}
		if m.used.CompareAndSwap(old, old+packed(bytes, records)) {
			return true
		}
	}
}

func (m *meter) sub(bytes, records int64) {
	left := m.used.Add(-packed(bytes, records))
	m.released.Add(bytes)
	// A waiter counts itself before it looks at used a last time; here it is the other way round. So one of the two sees the other.
	if m.waiters.Load() > 0 && m.isLow(left) {
		m.wake()
	}
}

func (m *meter) wake() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.freed != nil {
		close(m.freed)
		m.freed = nil
	}
}

func (m *meter) over() bool { return m.isOver(m.used.Load()) }

func (m *meter) isOver(v int64) bool {
	b, r := unpacked(v)
	return b >= m.maxBytes || r >= m.maxRecords
}

// isLow is a quarter below the limit: without that distance a waiter would be woken for every single record.
func (m *meter) isLow(v int64) bool {
	b, r := unpacked(v)
	return b <= m.maxBytes/4*3 && r <= m.maxRecords/4*3
}

// wait returns when the meter is not over its limit, or with the context's cause. Who had to wait goes on only at the low mark.
func (m *meter) wait(ctx context.Context) error {
	if !m.over() {
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

func (m *meter) signal() chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.freed == nil {
		m.freed = make(chan struct{})
	}
	return m.freed
}

const (
	minRetryAfter = 5 * time.Millisecond
	maxRetryAfter = 5 * time.Second
	rateWindow    = 100 * time.Millisecond
)

// retryAfter estimates, from how fast the meter drains, when it will be at the low mark. A meter that stands still says the longest time.
func (m *meter) retryAfter() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	now, released := time.Now(), m.released.Load()
	switch dt := now.Sub(m.rateFrom); {
	case m.rateFrom.IsZero():
		m.rateFrom, m.rateBytes = now, released
		return rateWindow // nothing is known yet; the next refusal will know
	case dt >= rateWindow:
		m.rate = float64(released-m.rateBytes) / dt.Seconds()
		m.rateFrom, m.rateBytes = now, released
	}
	if m.rate <= 0 {
		return maxRetryAfter
	}
	bytes, _ := unpacked(m.used.Load())
	wait := time.Duration(float64(bytes-m.maxBytes/4*3) / m.rate * float64(time.Second))
	return min(max(wait, minRetryAfter), maxRetryAfter)
}

func (m *meter) String() string {
	bytes, records := unpacked(m.used.Load())
	return fmt.Sprintf("%d bytes and %d records", bytes, records)
}
