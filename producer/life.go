package producer

import "slices"

// life is where a client is in its life, and what it was refused for. It is pure; the client's lock
// guards it.
//
//	unused ──▶ running ──▶ refused
//	   │          │           │
//	   ▼          ▼           ▼
//	invalid ──▶ closing ◀─────┘     closing ──▶ leaving
//
// A refusal that comes while it closes is noted, for those who wait for their units, and changes
// nothing else.
type life struct {
	phase   phase
	refusal *Error // it never connects: its configuration, or its version, token, user or group
}

type phase uint8

const (
	lifeUnused  phase = iota // nobody has called it yet
	lifeInvalid              // its configuration cannot work; nothing runs
	lifeRunning              // its goroutines run
	lifeRefused              // the sidecar refused it for good
	lifeClosing              // Close was called: nothing is taken any more, what was taken is awaited
	lifeLeaving              // Goodbye was said: nothing is sent, and no other stream begins
)

// lifeSteps are the phases that may follow each one.
var lifeSteps = [...][]phase{
	lifeUnused:  {lifeInvalid, lifeRunning, lifeClosing},
	lifeInvalid: {lifeClosing},
	lifeRunning: {lifeRefused, lifeClosing},
	lifeRefused: {lifeClosing},
	lifeClosing: {lifeLeaving},
	lifeLeaving: {},
}

// to goes on to a phase, if it may follow.
func (l *life) to(next phase) bool {
	if !slices.Contains(lifeSteps[l.phase], next) {
		return false
	}
	l.phase = next
	return true
}

// use tells why nothing can be taken, or that this is the first use.
func (l *life) use() (first bool, err error) {
	switch {
	case l.isClosed():
		return false, errClosed()
	case l.refusal != nil:
		return false, l.refusal
	}
	return l.phase == lifeUnused && l.to(lifeRunning), nil
}

// refuse notes that it can never deliver.
func (l *life) refuse(why *Error) {
	l.refusal = why
	if !l.to(lifeRefused) {
		l.to(lifeInvalid)
	}
}

// close begins the end, and tells whether goroutines run.
func (l *life) close() (began bool) {
	began = l.phase == lifeRunning || l.phase == lifeRefused
	l.to(lifeClosing)
	return began
}

// leave says that the session was ended, or is about to be.
func (l *life) leave() { l.to(lifeLeaving) }

func (l *life) isClosed() bool  { return l.phase == lifeClosing || l.phase == lifeLeaving }
func (l *life) isLeaving() bool { return l.phase == lifeLeaving }

// takesMore tells whether calls may be taken, now or later.
func (l *life) takesMore() bool { return !l.isClosed() && l.refusal == nil }
