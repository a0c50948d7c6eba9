package sidecar

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/ackmark/ackmark/sidecar/internal/peer"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// DESIGN.md has the table of a session's states, and it is this one.
func TestSessionTransitionsAreThoseOfTheDesign(t *testing.T) {
	text, err := os.ReadFile("../DESIGN.md")
	if err != nil {
		t.Fatal(err)
	}
	cells := func(line string) []string {
		list := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range list {
			list[i] = strings.TrimSpace(list[i])
		}
		return list
	}
	_, table, found := strings.Cut(string(text), "\n| a session is |")
	if !found {
		t.Fatal("DESIGN.md has no table that begins with | a session is |")
	}
	lines := strings.Split(table, "\n")
	for e, name := range cells(lines[0]) {
		if e >= int(sessionEvents) || sessionEvent(e).String() != name {
			t.Errorf("event %d of the table is %q", e, name)
		}
	}
	for state := range sessionStates {
		row := cells(lines[2+state])
		if len(row) != 1+int(sessionEvents) || row[0] != state.String() {
			t.Fatalf("row %d is %q, want that of %q with %d events", state, row, state, sessionEvents)
		}
		for e := range sessionEvents {
			want := "–"
			if to := state.after(e); to != state {
				want = to.String()
			}
			if row[1+e] != want {
				t.Errorf("%s, %s: the table says %q, the code %q", state, e, row[1+e], want)
			}
		}
	}
	if len(lines) > 2+int(sessionStates) && strings.HasPrefix(lines[2+sessionStates], "|") {
		t.Errorf("a row too many: %q", lines[2+sessionStates])
	}
}

// What must hold of any table, whatever it says.
func TestSessionStatesKeepTheirPromises(t *testing.T) {
	for s := range sessionStates {
		for e := range sessionEvents {
			to := s.after(e)
			switch {
			case s.over() && !to.over():
				t.Errorf("%s, %s: %s takes units of a process that was taken for dead (S8)", s, e, to)
			case s.ended() && to != s:
				t.Errorf("%s, %s: %s, and nothing comes after the end", s, e, to)
			case s.closed() && !to.closed():
				t.Errorf("%s, %s: %s, and its id may be had again (S8)", s, e, to)
			case to == stateWill && s != stateWill && (!s.waits() || e != eventGraceOver && e != eventDeath && e != eventHeir):
				t.Errorf("%s, %s: a will of a process that may be alive", s, e)
			case to == stateWill && !s.willMayCome():
				t.Errorf("%s, %s: a will that its heir was told is not to come", s, e)
			case s == stateGoodbye && e != eventReturn && to.willMayCome() && to != s:
				t.Errorf("%s, %s: a will of one who said Goodbye", s, e)
			case e == eventBreak && to.streams():
				t.Errorf("%s, %s: %s, and its stream is gone", s, e, to)
			case e != eventReturn && to.streams() && !s.streams():
				t.Errorf("%s, %s: %s, and where would its stream come from", s, e, to)
			case e == eventEnd && !to.ended():
				t.Errorf("%s, %s: %s", s, e, to)
			}
		}
		if n := btoi(s.streams()) + btoi(s.waits()) + btoi(s.over()); n != 1 {
			t.Errorf("%s: it is %d of with a stream, waiting, over", s, n)
		}
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// A session that an heir's question ended does not go on, and one of a sidecar that drains by now
// neither: it would not leave, and the drain would wait for it until its deadline.
func TestWhoMayNotReturnIsRefused(t *testing.T) {
	srv := idle(t)
	for name, x := range map[string]struct {
		event sessionEvent
		how   resumption
		err   error
	}{
		"an heir came":   {eventHeir, overAlready, nil},
		"it drains":      {eventDrain, unresumed, errDraining},
		"it is dead":     {eventDeath, overAlready, nil},
		"nothing so far": {eventBreak, resumed, nil},
	} {
		s := srv.testSession(t)
		s.detach(s.stream, nil)
		s.mu.Lock()
		s.happen(x.event)
		s.mu.Unlock()
		if _, how, err := s.attach(newStream(nil), peer.Info{}, new(sidecarpb.Hello)); how != x.how || !errors.Is(err, x.err) {
			t.Errorf("%s: %v, %v; want %v, %v", name, how, err, x.how, x.err)
		}
		s.end(errStreamDone)
	}
}
