package sidecar_test

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// One message names so many topics that do not exist that what the first of them were told is old
// when the last is: its sender waits for that, and nobody else.
func TestManyTopicsThatDoNotExist(t *testing.T) {
	const topics = 200
	inTransactions(t, nil, func(t *testing.T, b *bubble) {
		wrong, other := b.mortal(t, "wrong", "", exactlyOnce), b.mortal(t, "other", "", exactlyOnce)
		var units []testUnit
		for i := range topics {
			units = append(units, plain(fmt.Sprintf("absent-%d", i), 1)...)
		}
		wrong.units(units...)
		done := make(chan struct{})
		go func() {
			defer close(done)
			wrong.reported(topics)
		}()
		var took []time.Duration
		for over := false; !over; {
			begun := time.Now()
			other.units(plain("out", 1)...)
			other.reported(len(took) + 1)
			took = append(took, time.Since(begun))
			select {
			case <-done:
				over = true
			case <-time.After(100 * time.Millisecond):
			}
		}
		if len(wrong.failed) != topics {
			t.Errorf("%d of %d units failed", len(wrong.failed), topics)
		}
		if most := slices.Max(took); most > time.Second {
			t.Errorf("a unit of another session took %v", most)
		}
		t.Logf("%d units of another session, %v at most, while %d topics were asked for", len(took), slices.Max(took), topics)
	})
}
