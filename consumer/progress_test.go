package consumer

import (
	"testing"

	"github.com/ackmark/ackmark/internal/assignment"
	"github.com/ackmark/ackmark/internal/donemeta"
)

// What somebody else needs to go on for this process: where the mark is, as offset and as index,
// and what is done above it.
func TestProgress(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.feed(0, 10)
		h := &holder{}
		m := l.start(l.config(), h.deliver)
		l.until("handed out", func() bool { return len(h.messages()) == 10 })
		a := m.parts.all()[0].assignment
		if at := a.Progress(); at.Index != 0 || at.Offset != 0 || len(at.Done) != 0 || at.DoneSet != "" {
			t.Errorf("at the beginning: %+v", at)
		}
		for _, i := range []int{0, 1, 4, 5, 8} {
			h.messages()[i].Done(nil)
		}
		at := a.Progress()
		if at.Index != 2 || at.Offset != 2 || len(at.Done) != 2 || at.Done[0] != (assignment.DoneRun{Index: 4, Offset: 4, Count: 2}) || at.Done[1] != (assignment.DoneRun{Index: 8, Offset: 8, Count: 1}) {
			t.Errorf("%+v", at)
		}
		runs, err := donemeta.ParseAt(at.DoneSet, a.TopicID, at.Offset, nil)
		if err != nil || len(runs) != 2 || runs[0] != (donemeta.Run{First: 4, Last: 5}) {
			t.Errorf("done-set %v: %v", runs, err)
		}
		for _, msg := range h.messages() {
			msg.Done(nil)
		}
		wantNil(t, m.stop())
	})
}
