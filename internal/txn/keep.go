package txn

import (
	"context"
	"time"
)

// keepEvery is how often the ids without a client are taken again where nothing else is done with
// them. They prove that the others are ours, and what has expired proves nothing.
const keepEvery = 10 * time.Minute

// keep takes the ids without a client again, under their epochs, when it is time. Between windows.
// Who finds one taken has a successor that it has not heard of, or does what it does in a window.
func (d *ids) keep() error {
	if time.Now().Before(d.keepAt()) {
		return nil
	}
	for i := range d.bares {
		b := &d.bares[i]
		if b.aside != nil || time.Since(b.used) < d.keepEvery {
			continue
		}
		ctx, cancel := context.WithTimeout(d.ctx, d.bareWait)
		_, err := d.retakeBare(ctx, b, aWhile)
		cancel()
		if !isTaken(err) {
			continue // or it could not be asked for: there is time
		}
		if err := d.verifyBare(b, err); err != nil {
			return err
		}
	}
	d.kept = time.Now()
	return nil
}

// keepAt is when it is time.
func (d *ids) keepAt() time.Time { return d.kept.Add(d.keepEvery) }
