package breaker_test

import (
	"testing"
	"time"

	"github.com/ackmark/ackmark/producer/internal/breaker"
)

// The breaker opens when there was no stream worth the name for so long, and closes with a stream
// that lasts.
func TestBreaker(t *testing.T) {
	const after, soon = 5 * time.Second, 2 * time.Second
	type event struct {
		at   time.Duration
		what string
	}
	for _, c := range []struct {
		name   string
		events []event
		want   map[time.Duration]bool // open after the events, at
	}{
		{"never used", nil, map[time.Duration]bool{0: false, time.Hour: false}},
		{"never connected", []event{{0, "lost"}}, map[time.Duration]bool{after - 1: false, after: true}},
		{"attempts fail", []event{{0, "lost"}, {time.Second, "lost"}, {4 * time.Second, "lost"}}, map[time.Duration]bool{after - 1: false, after: true}},
		{"connected", []event{{0, "lost"}, {time.Second, "up"}}, map[time.Duration]bool{after: false, time.Hour: false}},
		{"a stream that lasted", []event{{0, "lost"}, {time.Second, "up"}, {time.Minute, "lost"}},
			map[time.Duration]bool{time.Minute + after - 1: false, time.Minute + after: true}},
		{"streams that break at once", []event{{0, "lost"}, {time.Second, "up"}, {2 * time.Second, "lost"}, {3 * time.Second, "up"}, {4 * time.Second, "lost"}},
			map[time.Duration]bool{after - 1: false, after: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			start := time.Unix(1000, 0)
			var b breaker.Breaker
			for _, e := range c.events {
				if e.what == "up" {
					b.Connected(start.Add(e.at))
				} else {
					b.Lost(start.Add(e.at), soon)
				}
			}
			for at, want := range c.want {
				if got := b.Open(start.Add(at), after); got != want {
					t.Errorf("after %v: open is %t, want %t", at, got, want)
				}
			}
		})
	}
}
