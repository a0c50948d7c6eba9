package sidecar

import (
	"time"

	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// missedEvery is how often at most a session's inputs that are not followed are a line in the log.
const missedEvery = 10 * time.Second

// missedInputs is what was said of a session's inputs for which there was no room.
type missedInputs struct {
	counted, said uint64
	at            time.Time // of the last line
}

// admit enters a frame, and says where there was no room to follow its inputs.
func (s *streams) admit(d *stream, f *frame) error {
	err := d.session.admit(d, f)
	if err != nil || !d.missed {
		return err
	}
	if n, topic, partition := d.session.countMissed(time.Now()); n > 0 {
		s.log.Warn("the will of a process lags until it says where it stands: there is no room to follow inputs so far above their ack marks",
			"app", d.session.app.Name, "session", d.session.id, "topic", topic, "partition", partition, "inputs", n)
	}
	return nil
}

// countMissed counts the inputs that are not followed. It returns how many there are to say, with
// one of their partitions; 0: there are none, or it was said a moment ago.
func (s *session) countMissed(now time.Time) (inputs uint64, topic string, partition int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, last := s.held.Missed()
	m := &s.missed
	s.app.Counts.Unfollowed.Add(n - m.counted)
	m.counted = n
	if n == m.said || now.Sub(m.at) < missedEvery {
		return 0, "", 0
	}
	inputs = n - m.said
	m.said, m.at = n, now
	return inputs, last.Topic, last.Index
}

// tells takes what a process tells of itself. Where there was no room to follow its inputs, its
// will goes on from there: the process commits by the same numbers.
func (s *session) tells(d *stream, m *sidecarpb.ProcessState) {
	s.told.Take(m, time.Now(), s.holds)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current(d) != nil {
		return
	}
	for _, p := range m.GetPartitions() {
		if p.GetDone() >= p.GetDoneAbove() { // what is done and not above the ack mark is all that lies below it
			s.held.TakeWord(p.GetEpoch(), p.GetDone()-p.GetDoneAbove(), p.GetAckMark())
		}
	}
}
