package consumer

import "sync/atomic"

// roomWait is the poll loop's wait for memory. Who gives some back kicks it.
type roomWait struct {
	state atomic.Uint32 // a roomState; only the poll loop sets it
	kicks chan struct{}
}

// roomState is where such a wait stands, or where the last one ended.
type roomState uint32

const (
	roomFound      roomState = iota // it ended, or there was none
	roomAwaited                     // it goes on
	roomHeld                        // it goes on, and the others have nothing in hand
	roomFoundLater                  // it ended, and the others had nothing in hand
)

type roomEvent int

const (
	roomBegin roomEvent = iota
	roomOthersRest
	roomEnd
)

// roomNext is the state behind an event.
var roomNext = [...][3]roomState{
	roomFound:      {roomBegin: roomAwaited, roomOthersRest: roomFound, roomEnd: roomFound},
	roomAwaited:    {roomBegin: roomAwaited, roomOthersRest: roomHeld, roomEnd: roomFound},
	roomHeld:       {roomBegin: roomAwaited, roomOthersRest: roomHeld, roomEnd: roomFoundLater},
	roomFoundLater: {roomBegin: roomAwaited, roomOthersRest: roomFoundLater, roomEnd: roomFoundLater},
}

func (w *roomWait) now() roomState { return roomState(w.state.Load()) }

func (w *roomWait) on(e roomEvent) { w.state.Store(uint32(roomNext[w.now()][e])) }

// goesOn tells that the poll loop waits.
func (s roomState) goesOn() bool { return s == roomAwaited || s == roomHeld }

// othersRested tells that the others had nothing in hand in this wait, or in the last one: its
// steps were held against those that it was for.
func (s roomState) othersRested() bool { return s == roomHeld || s == roomFoundLater }

// kick has the poll loop look again, if it waits.
func (w *roomWait) kick() {
	if w.now().goesOn() {
		wake(w.kicks)
	}
}
