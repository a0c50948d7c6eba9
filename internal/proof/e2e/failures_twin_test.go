package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/sidecar"
)

// twinsEnv, if it is 1, has each row of `make exactly-once` that makes sense without transactions
// played at-least-once before, and holds its longest stall against that.
const twinsEnv = "ACKMARK_TWINS"

// transactionShare is how much longer a stall may be with transactions than without. A fault may
// abort one, whose units are done in the next: each is open for at most five times the commit
// interval. Between them lie the patience for a membership that moves on (250 ms) and the second
// after which an id is taken again. What brokers take to come back, both modes wait for; that the
// transactions' coordinator was on the killed one, too, is within what these rows' twins may take.
const transactionShare = 2*5*sidecar.DefaultCommitEvery + 250*time.Millisecond + time.Second

// twin is what became of a row that was played at-least-once.
type twin struct {
	stall          time.Duration // the longest, beside what the test held back itself
	lost, repeated int
}

// playTwin does to an at-least-once pod what the row does to its own.
func playTwin(t *testing.T, of *failure) (played *twin) {
	t.Helper()
	t.Run("at-least-once", func(t *testing.T) {
		x := newFailing(t, of, true)
		of.do(x)
		played = x.concludeTwin()
	})
	return played
}

// readers is what a reader has to be that sees the outputs of the row.
func (x *failing) readers() []kgo.Opt {
	if x.isTwin {
		return nil
	}
	return []kgo.Opt{committedOnly()}
}

// concludeTwin ends the pod, and judges what every reader sees.
func (x *failing) concludeTwin() *twin {
	x.Helper()
	n := x.ended()
	counts := x.seenBy(x.readers()...)
	w := &twin{stall: x.excess(), lost: int(n) - len(counts)}
	for _, times := range counts {
		w.repeated += times - 1
	}
	if err := w.kept(x.of); err != nil {
		x.Error(err)
	}
	return w
}

// kept holds the twin to what at-least-once promises.
func (w *twin) kept(of *failure) error {
	if w.lost != 0 || w.repeated > 0 && !of.repeats {
		return fmt.Errorf("at-least-once: %d lost, %d repeated (which it may: %t)", w.lost, w.repeated, of.repeats)
	}
	return nil
}

// beside says how the row's longest stall compares with its twin's, which is nil if it was not
// played, and whether it is longer than it may be. One run of either is no measure: a twin that was
// lucky counts as what at-least-once is held to.
func (x *failing) beside(w *twin) (cell string, err error) {
	switch {
	case x.of.twin == 0:
		return "–", nil
	case w == nil:
		return "not played", nil
	}
	round := func(d time.Duration) time.Duration { return d.Round(10 * time.Millisecond) }
	stall, may := x.excess(), max(w.stall, x.of.twin)+transactionShare
	cell = fmt.Sprintf("%s, %d lost, %d repeated; here %s of %s", round(w.stall), w.lost, w.repeated, round(stall), round(may))
	if stall > may {
		err = fmt.Errorf("the longest stall, beside the test's own, is more than at-least-once and a transaction take: %s", cell)
	}
	return cell, err
}
