package sidecar

// sessionState is where a session stands. Its lock guards it, and only [session.happen] changes it.
type sessionState uint8

const (
	// stateAttached: it has a stream.
	stateAttached sessionState = iota
	// stateDraining: it has a stream, which ends when nothing is open: the sidecar drains.
	stateDraining
	// stateGoodbye: the same, because the client said so.
	stateGoodbye
	// stateBroken: its stream broke, and its client has its grace to come back.
	stateBroken
	// stateBrokenDraining: the same in a sidecar that drains, to which nobody comes back.
	stateBrokenDraining
	// stateFinishing: it has no stream any more, and what it received is finished. There is no
	// will.
	stateFinishing
	// stateWill: its process is gone. What it received is finished, and its will executed.
	stateWill
	// stateEnded: nothing is entered or reported. Another session may have its id.
	stateEnded
	// stateFenced: the same, and its id stays closed.
	stateFenced
	sessionStates
)

// String is for DESIGN.md and tests.
func (s sessionState) String() string {
	return [sessionStates]string{
		"attached", "draining", "goodbye", "broken", "broken, draining", "finishing", "will", "ended", "fenced",
	}[s]
}

// sessionEvent is what can happen to a session.
type sessionEvent uint8

const (
	// eventBreak: its stream ended without its consent, and another one may go on with it.
	eventBreak sessionEvent = iota
	// eventReturn: its client goes on with another stream.
	eventReturn
	// eventGoodbye: its client says that it has committed, and leaves.
	eventGoodbye
	// eventDrain: the sidecar drains.
	eventDrain
	// eventGraceOver: its client had its time to come back.
	eventGraceOver
	// eventDeath: its process is proven dead.
	eventDeath
	// eventHeir: another process takes its place, so that its own cannot come back.
	eventHeir
	// eventEnd: it is over.
	eventEnd
	sessionEvents
)

// String is for DESIGN.md and tests.
func (e sessionEvent) String() string {
	return [sessionEvents]string{
		"stream breaks", "client returns", "Goodbye", "drain", "grace over", "process dead", "heir", "end",
	}[e]
}

// sessionTransitions is the whole of it. What is not named leaves the state as it is. While there
// is a stream, the end of the process is not acted upon: what came before it is read first, and
// then the stream breaks. Who has said Goodbye has committed, so there is no will. A client that is
// not known to be dead, and finds the sidecar draining, goes on with the next one.
var sessionTransitions = [sessionStates]map[sessionEvent]sessionState{
	stateAttached: {eventBreak: stateBroken, eventGoodbye: stateGoodbye, eventDrain: stateDraining, eventEnd: stateEnded},
	stateDraining: {eventBreak: stateBrokenDraining, eventGoodbye: stateGoodbye, eventEnd: stateEnded},
	stateGoodbye:  {eventBreak: stateFinishing, eventReturn: stateAttached, eventEnd: stateEnded},
	stateBroken: {
		eventReturn: stateAttached, eventDrain: stateBrokenDraining,
		eventGraceOver: stateWill, eventDeath: stateWill, eventHeir: stateWill, eventEnd: stateEnded,
	},
	stateBrokenDraining: {eventGraceOver: stateFinishing, eventDeath: stateWill, eventHeir: stateWill, eventEnd: stateEnded},
	stateFinishing:      {eventEnd: stateFenced},
	stateWill:           {eventEnd: stateFenced},
	stateEnded:          {},
	stateFenced:         {},
}

// after is the state that an event leads to.
func (s sessionState) after(e sessionEvent) sessionState {
	if to, moves := sessionTransitions[s][e]; moves {
		return to
	}
	return s
}

// streams tells that it has a stream.
func (s sessionState) streams() bool { return s <= stateGoodbye }

// returns tells that its client may go on with it on another stream.
func (s sessionState) returns() bool { return s.after(eventReturn) == stateAttached }

// leaves tells that its stream ends when nothing is open, and takes nothing new.
func (s sessionState) leaves() bool { return s == stateDraining || s == stateGoodbye }

// waits tells that it has no stream, and that its client may be alive.
func (s sessionState) waits() bool { return s == stateBroken || s == stateBrokenDraining }

// over tells that nothing more is entered, whoever comes.
func (s sessionState) over() bool { return s >= stateFinishing }

// closed tells that its id is refused, now or when what it received is finished.
func (s sessionState) closed() bool { return s.over() && s != stateEnded }

// ended tells that nothing of it is produced or reported any more.
func (s sessionState) ended() bool { return s >= stateEnded }

// willMayCome tells that a will of it may be executed, or is being executed.
func (s sessionState) willMayCome() bool {
	return s.streams() && s != stateGoodbye || s.waits() || s == stateWill
}

// word is what Status calls it: whether there is a draining, or a will, is said elsewhere.
func (s sessionState) word() string {
	switch {
	case s.ended():
		return "closed"
	case s.over():
		return "will"
	case s.streams():
		return "attached"
	}
	return "broken"
}
