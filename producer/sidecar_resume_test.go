package producer_test

import (
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// life is a session of the script that outlives its streams, as the wire contract has it: what was
// received is finished, and each number that the client misses a report of is reported once on the
// stream that goes on. The script's mu guards it.
type life struct {
	next    uint64
	load    map[uint64]load
	fates   map[uint64]*sidecarpb.UnitFailure // of what is finished; nil: acked
	owed    map[uint64]bool                   // reports that the stream has not had
	current *session
	resumed int
	closed  bool
}

// outlive makes the sessions of the script outlive their streams.
func (x *script) outlive() { x.lives = map[string]*life{} }

// die forgets all sessions: the next sidecar is a new one.
func (x *script) die() {
	x.mu.Lock()
	defer x.mu.Unlock()
	clear(x.lives)
	x.id += "'"
}

// fence closes every session for good, as after a will, and breaks their streams.
func (x *script) fence() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, l := range x.lives {
		l.closed = true
		if l.current != nil {
			l.current.closing <- errCut
			l.current = nil
		}
	}
}

// leave makes sure that nothing more is taken from the stream.
func (s *session) leave() {
	s.working <- true
	s.left = true
	<-s.working
}

// live makes the session go on, or begin, and writes its part of Welcome.
func (s *session) live(w *sidecarpb.Welcome) error {
	s.mu.Lock()
	if l := s.lives[s.hello.GetSessionId()]; l != nil && l.current != nil {
		s.mu.Unlock()
		l.current.leave()
		s.mu.Lock()
	}
	defer s.mu.Unlock()
	l := s.lives[s.hello.GetSessionId()]
	if l != nil && l.closed {
		return status.Error(codes.Aborted, "SESSION_FENCED: by the test")
	}
	if !slices.Contains(s.hello.GetFeatures(), "resume") {
		delete(s.lives, s.hello.GetSessionId())
		return nil
	}
	w.Features = []string{"resume"}
	if l == nil || s.hello.GetPreviousSidecarId() != s.script.id {
		l = &life{next: 1, load: map[uint64]load{}, fates: map[uint64]*sidecarpb.UnitFailure{}, owed: map[uint64]bool{}}
		s.lives[s.hello.GetSessionId()] = l
		s.life, l.current = l, s
		return nil
	}
	w.Resumed, w.HighestSequence = true, l.next-1
	l.resumed++
	s.next = l.next
	clear(l.owed)
	for _, r := range s.hello.GetUnreported() {
		for seq := r.First; seq < r.First+r.Count && seq < l.next; seq++ {
			l.owed[seq] = true
			s.open[seq] = l.load[seq]
		}
	}
	for seq := uint64(1); seq < l.next; seq++ {
		if _, finished := l.fates[seq]; !finished && !l.owed[seq] {
			s.t.Errorf("the client says that %d was reported, it was not", seq)
		}
	}
	s.life = l
	return nil
}

// catchUp reports, after Welcome, what was finished meanwhile.
func (s *session) catchUp() {
	if s.life == nil {
		return
	}
	s.mu.Lock()
	s.life.current = s
	r := new(sidecarpb.DeliveryReports)
	for seq := uint64(1); seq < s.life.next; seq++ {
		if fate, finished := s.life.fates[seq]; finished && s.life.owed[seq] {
			add(r, seq, fate)
		}
	}
	s.mu.Unlock()
	if len(r.Acked)+len(r.Failed) > 0 {
		s.report(r)
	}
}

func add(r *sidecarpb.DeliveryReports, seq uint64, fate *sidecarpb.UnitFailure) {
	if fate != nil {
		r.Failed = append(r.Failed, fate)
	} else {
		r.Acked = append(r.Acked, &sidecarpb.Range{First: seq, Count: 1})
	}
}

func (l *life) received(u *sidecarpb.Units) {
	for i, unit := range u.GetUnits() {
		seq := u.GetFirstSequence() + uint64(i)
		l.owed[seq] = true
		l.load[seq] = load{uint64(proto.Size(unit)), uint64(max(1, len(unit.GetOutputs())))}
	}
	l.next = u.GetFirstSequence() + uint64(len(u.GetUnits()))
}

// lose takes a message back that did not arrive.
func (s *session) lose(u *sidecarpb.Units) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range u.GetUnits() {
		delete(s.life.owed, u.GetFirstSequence()+uint64(i))
	}
	s.life.next = u.GetFirstSequence()
}

// owes remembers fates, and returns the stream that must be told, with what it must be told. The
// caller holds mu.
func (l *life) owes(r *sidecarpb.DeliveryReports) (*session, *sidecarpb.DeliveryReports) {
	s := l.current
	out := new(sidecarpb.DeliveryReports)
	book := func(seq uint64, fate *sidecarpb.UnitFailure) {
		l.fates[seq] = fate
		if l.owed[seq] && s != nil {
			delete(l.owed, seq)
			add(out, seq, fate)
		}
	}
	for _, a := range r.GetAcked() {
		for seq := a.GetFirst(); seq < a.GetFirst()+a.GetCount(); seq++ {
			book(seq, nil)
		}
	}
	for _, f := range r.GetFailed() {
		book(f.GetSequence(), f)
	}
	if s == nil || len(out.Acked)+len(out.Failed) == 0 {
		return nil, nil
	}
	return s, out
}
