// Package breaker tells from the coming and going of streams whether the sidecar counts as
// unavailable. It is pure: no lock, clock or goroutine.
package breaker

import "time"

// Breaker knows since when there is, or is not, a stream worth the name. The zero value was never
// asked.
//
// gobreaker counts requests that fail. Here are none: one stream lives for days, units wait while
// there is none, and what counts is for how long. This one is three functions; which
// records may take the other way, the harder question, no breaker answers.
type Breaker struct {
	down time.Time // since when there is no stream worth the name; zero: there is one
	up   time.Time // since when there is a stream; zero: there is none
}

// Connected notes that a stream began.
func (b *Breaker) Connected(now time.Time) { b.up = now }

// Lost notes that there is no stream. One that broke soon after it began has not ended the outage:
// a sidecar that takes streams and drops them is as unavailable as one that takes none.
func (b *Breaker) Lost(now time.Time, soon time.Duration) {
	if b.down.IsZero() || !b.up.IsZero() && now.Sub(b.up) >= soon {
		b.down = now
	}
	b.up = time.Time{}
}

// Open tells that there has been no stream for so long.
func (b *Breaker) Open(now time.Time, after time.Duration) bool {
	return b.up.IsZero() && !b.down.IsZero() && now.Sub(b.down) >= after
}
