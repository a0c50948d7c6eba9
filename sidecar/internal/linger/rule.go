package linger

import "time"

const (
	// enough records in a batch: what more of them would save is little.
	enough = 8
	// weight of the past against a window that ended.
	weight = 0.75
)

// Rule is the length of the next wait, between a shortest and a longest, from what the waits before
// it gathered. It knows no clock.
type Rule struct {
	least, most, now time.Duration
	records, batches float64 // of a window, smoothed
}

// NewRule begins with the shortest wait.
func NewRule(least, most time.Duration) Rule {
	return Rule{least: least, most: max(least, most), now: least}
}

// Wait is how long the first record of a window waits at most.
func (r *Rule) Wait() time.Duration { return r.now }

// Gathered adapts the wait to what a window sent, to its double or its half at most.
func (r *Rule) Gathered(records, batches int64) {
	if records <= 0 || batches <= 0 {
		return
	}
	if r.batches == 0 {
		r.records, r.batches = float64(records), float64(batches)
	}
	r.records = weight*r.records + (1-weight)*float64(records)
	r.batches = weight*r.batches + (1-weight)*float64(batches)
	factor := min(max(enough*r.batches/r.records, 0.5), 2)
	r.now = min(max(time.Duration(float64(r.now)*factor), r.least), r.most)
}
