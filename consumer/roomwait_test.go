package consumer

import "testing"

// A wait that the others had nothing in hand in is remembered until the next one begins.
func TestRoomWait(t *testing.T) {
	for _, c := range []struct {
		events             []roomEvent
		goesOn, othersRest bool
	}{
		{nil, false, false},
		{[]roomEvent{roomOthersRest}, false, false}, // of no wait
		{[]roomEvent{roomBegin}, true, false},
		{[]roomEvent{roomBegin, roomEnd}, false, false},
		{[]roomEvent{roomBegin, roomOthersRest}, true, true},
		{[]roomEvent{roomBegin, roomOthersRest, roomEnd}, false, true},
		{[]roomEvent{roomBegin, roomOthersRest, roomEnd, roomEnd}, false, true},
		{[]roomEvent{roomBegin, roomOthersRest, roomEnd, roomBegin}, true, false},
		{[]roomEvent{roomBegin, roomOthersRest, roomEnd, roomBegin, roomEnd}, false, false},
	} {
		w := roomWait{kicks: make(chan struct{}, 1)}
		for _, e := range c.events {
			w.on(e)
		}
		if s := w.now(); s.goesOn() != c.goesOn || s.othersRested() != c.othersRest {
			t.Errorf("%v: goes on %t, others rested %t", c.events, s.goesOn(), s.othersRested())
		}
		w.kick()
		if got := len(w.kicks) == 1; got != c.goesOn {
			t.Errorf("%v: kicked %t", c.events, got)
		}
	}
}
