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
func (l *Lane) keep() error {
	if time.Since(l.kept) < l.keepEvery {
		return nil
	}
	for i := range l.bares {
		b := &l.bares[i]
		if b.aside != nil || time.Since(b.used) < l.keepEvery {
			continue
		}
		ctx, cancel := context.WithTimeout(l.ctx, l.bareWait)
		_, err := l.retakeBare(ctx, b, true)
		cancel()
		if !isTaken(err) {
			continue // or it could not be asked for: there is time
		}
		if err := l.verifyBare(b, err); err != nil {
			return err
		}
	}
	l.kept = time.Now()
	return nil
}
