package told

import (
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/ackmark/ackmark/internal/podstate"
	"github.com/ackmark/ackmark/internal/podwire"
	"github.com/ackmark/ackmark/sidecar/internal/limit"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

const (
	// burst is how many messages of a session are read at once, perSecond how many later: more
	// than a process with 16,384 partitions has.
	burst     = 64
	perSecond = 32
	// entryCost is what a partition takes beside its encoded state, about.
	entryCost = 96
)

// Session is what one session's process told. Its lock is its own: it is never held with another.
type Session struct {
	log *Log
	id  string // as shown
	app string

	mu         sync.Mutex
	room       limit.Share
	read       float64 // messages that may be read now
	readAt     time.Time
	at         time.Time // of the last message that told a state
	process    *sidecarpb.ProcessSummary
	waiting    []*sidecarpb.WaitingPartition
	waits      int64             // bytes that they take
	partitions map[uint64]string // PartitionState, encoded, by epoch
	incidents  podstate.Incidents
	closed     bool
}

// Session is one that has told nothing yet.
func (l *Log) Session(app, id string) *Session {
	return &Session{log: l, id: id, app: app, room: l.room.Share(), read: burst, incidents: podstate.NewIncidents(podstate.MaxIncidents)}
}

// Admits tells whether one more message is read now. It is asked before anything is decoded.
func (s *Session) Admits(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.readAt.IsZero() {
		s.read = min(burst, s.read+perSecond*max(0, now.Sub(s.readAt).Seconds()))
	}
	s.readAt = now
	if s.read < 1 || s.closed {
		return false
	}
	s.read--
	return true
}

// Take enters a message. Held tells which of so many epochs the session holds.
func (s *Session) Take(m *sidecarpb.ProcessState, now time.Time, held func(epochs []uint64) []bool) {
	epochs := make([]uint64, len(m.GetPartitions()))
	for i, p := range m.GetPartitions() {
		epochs[i] = p.GetEpoch()
	}
	mine := held(epochs)
	if m.GetProcess() != nil { // once a report
		s.forget(held)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	shift := time.Duration(0)
	if ms := m.GetNowMs(); ms > 0 {
		shift = now.Sub(time.UnixMilli(ms)).Truncate(time.Millisecond)
	}
	if m.GetProcess() != nil || len(m.GetPartitions()) > 0 { // a process without a state tells incidents all the same
		s.at = now
	}
	if p := m.GetProcess(); p != nil {
		s.process = p
		s.wait(m.GetWaiting())
	}
	for i, p := range m.GetPartitions() {
		if mine[i] {
			s.enter(p, shift)
		}
	}
	for _, x := range m.GetIncidents() {
		if in, err := podwire.ReadIncident(x, shift); err == nil && in.Kind != podstate.Will && in.Kind != podstate.Abort { // those are the sidecar's
			in.App, in.Session = s.app, s.id
			if in.Time.IsZero() || in.Time.After(now) { // the newest come first: nobody's are newer than now
				in.Time = now
			}
			s.incidents.Add(in)
		}
	}
}

// enter keeps the state of a partition, in the place of the one before. It is kept encoded: with
// 10,000 of them that is a quarter of what they take as objects.
func (s *Session) enter(m *sidecarpb.PartitionState, shift time.Duration) {
	p, err := podwire.ReadPartition(m, shift)
	if err != nil {
		return
	}
	text, err := proto.Marshal(podwire.Partition(&p))
	if err != nil {
		return
	}
	before, known := s.partitions[p.Epoch]
	if !s.room.Take(int64(len(text)) + entryCost) {
		return
	}
	if known {
		s.room.Give(int64(len(before)) + entryCost)
	}
	if s.partitions == nil {
		s.partitions = make(map[uint64]string)
	}
	s.partitions[p.Epoch] = string(text)
}

// wait keeps the partitions that wait, if there is room for all of them.
func (s *Session) wait(list []*sidecarpb.WaitingPartition) {
	s.room.Give(s.waits)
	s.waits, s.waiting = 0, nil
	var size int64
	for _, w := range list {
		size += int64(proto.Size(w)) + entryCost
	}
	if s.room.Take(size) {
		s.waits, s.waiting = size, list
	}
}

// forget forgets assignments that are over, in pieces: held takes the session's lock.
func (s *Session) forget(held func(epochs []uint64) []bool) {
	s.mu.Lock()
	epochs := make([]uint64, 0, len(s.partitions))
	for e := range s.partitions {
		epochs = append(epochs, e)
	}
	s.mu.Unlock()
	for len(epochs) > 0 {
		some := epochs[:min(len(epochs), 256)]
		epochs = epochs[len(some):]
		mine := held(some)
		s.mu.Lock()
		for i, e := range some {
			if p, known := s.partitions[e]; known && !mine[i] {
				s.room.Give(int64(len(p)) + entryCost)
				delete(s.partitions, e)
			}
		}
		s.mu.Unlock()
	}
}

// Close gives its room back. What happened to it stays in the log.
func (s *Session) Close() {
	s.mu.Lock()
	list := s.incidents.List()
	if s.closed {
		list = nil
	}
	s.closed = true
	s.room.Close()
	s.partitions, s.waiting, s.process = nil, nil, nil
	s.mu.Unlock()
	for i := len(list) - 1; i >= 0; i-- {
		s.log.Add(list[i])
	}
}

// Show adds what is known to a session's status. Without texts, what may tell of the app's data is
// left out: errors, reasons, and hashes of keys.
func (s *Session) Show(out *sidecarpb.SessionStatus, texts bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at.IsZero() || s.closed {
		return
	}
	out.ToldMs = s.at.UnixMilli()
	if s.process != nil {
		out.Process = proto.CloneOf(s.process)
	}
	for _, w := range s.waiting {
		out.Waiting = append(out.Waiting, proto.CloneOf(w))
	}
	for _, p := range out.GetPartitions() {
		text, known := s.partitions[p.GetEpoch()]
		if !known {
			continue
		}
		m := new(sidecarpb.PartitionState)
		if proto.Unmarshal([]byte(text), m) == nil {
			p.State = m
		}
	}
	if !texts {
		withhold(out)
	}
}

func withhold(out *sidecarpb.SessionStatus) {
	if out.GetProcess() != nil {
		out.Process.Problem = ""
	}
	for _, w := range out.GetWaiting() {
		w.Reason = ""
	}
	for _, p := range out.GetPartitions() {
		m := p.GetState()
		if m == nil {
			continue
		}
		m.Reason = ""
		if o := m.GetOldest(); o != nil {
			o.KeyHash, o.Error, o.Next = "", "", ""
		}
	}
}

// Incidents are those that its process told.
func (s *Session) Incidents() []podstate.Incident {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	return s.incidents.List()
}

// Held is how many bytes it takes of what all sessions share.
func (s *Session) Held() int64 { return s.room.Held() }
