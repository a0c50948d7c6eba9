package txn

// bounds are when a window is full.
type bounds struct {
	records int
	bytes   int64
	units   int // fewer than usual, while a guilty one is looked for; 0: as many as fit
}

// maxUnits bounds a window of units without outputs.
const maxUnits = 1 << 17

func (b *bounds) isFull(w *window) bool {
	return len(w.records) >= b.records || w.bytes >= b.bytes || b.units > 0 && w.units >= b.units || w.units >= maxUnits
}

// shrink finds the guilty one among units that failed together: Kafka refuses batches, and the
// client fails all that it holds of a partition with one. Until a window of one unit fails, windows
// are made half as large, and what is before the guilty unit is committed meanwhile. Units that
// are refused each by itself are as guilty as they look; the others are taken out of those that
// failed.
func (b *bounds) shrink(failed map[int]error) {
	last, inBatch := -1, 0
	for place, err := range failed {
		if isOfBatch(err) {
			inBatch++
			last = max(last, place)
		}
	}
	if inBatch <= 1 {
		return // windows grow again with each that is committed
	}
	b.units = max(1, (last+1)/2)
	for place, err := range failed {
		if isOfBatch(err) {
			delete(failed, place)
		}
	}
}

// grow makes windows larger again, behind one that is committed.
func (b *bounds) grow() {
	if b.units *= 2; b.units > 4096 {
		b.units = 0
	}
}
