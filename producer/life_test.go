package producer

import (
	"errors"
	"testing"
)

// Every step of a client's life, and what it takes at each: nothing after Close, nothing after a
// refusal, and what ended does not begin again.
func TestLife(t *testing.T) {
	why := &Error{Code: CodeUnauthorized}
	steps := map[string]func(*life){
		"use":    func(l *life) { _, _ = l.use() },
		"refuse": func(l *life) { l.refuse(why) },
		"close":  func(l *life) { l.close() },
		"leave":  func(l *life) { l.leave() },
	}
	for _, c := range []struct {
		name  string
		steps []string
		want  phase
		err   error // of the next call
	}{
		{"not used", nil, lifeUnused, nil},
		{"used", []string{"use", "use"}, lifeRunning, nil},
		{"invalid", []string{"refuse"}, lifeInvalid, why},
		{"invalid, and used", []string{"refuse", "use"}, lifeInvalid, why},
		{"refused", []string{"use", "refuse"}, lifeRefused, why},
		{"refused, and used", []string{"use", "refuse", "use"}, lifeRefused, why},
		{"closed before use", []string{"close"}, lifeClosing, ErrClosed},
		{"closed, and used", []string{"close", "use"}, lifeClosing, ErrClosed},
		{"closed, and refused", []string{"use", "close", "refuse"}, lifeClosing, ErrClosed},
		{"refused, and closed", []string{"use", "refuse", "close"}, lifeClosing, ErrClosed},
		{"left", []string{"use", "close", "leave"}, lifeLeaving, ErrClosed},
		{"left without Close", []string{"use", "leave"}, lifeRunning, nil},
		{"left, and all again", []string{"use", "close", "leave", "use", "refuse", "close"}, lifeLeaving, ErrClosed},
	} {
		var l life
		for _, s := range c.steps {
			steps[s](&l)
		}
		if l.phase != c.want {
			t.Errorf("%s: phase %d, want %d", c.name, l.phase, c.want)
		}
		if takes := l.takesMore(); takes != (c.err == nil) {
			t.Errorf("%s: takes more: %v", c.name, takes)
		}
		first, err := l.use()
		if !errors.Is(err, c.err) || first != (c.want == lifeUnused) {
			t.Errorf("%s: the next call: first %v, %v, want %v", c.name, first, err, c.err)
		}
	}
}

// Close waits for goroutines where there are some, and only there.
func TestLifeKnowsWhetherSomethingRuns(t *testing.T) {
	for _, c := range []struct {
		used, refused, runs bool
	}{{false, false, false}, {true, false, true}, {false, true, false}, {true, true, true}} {
		var l life
		if c.used {
			_, _ = l.use()
		}
		if c.refused {
			l.refuse(&Error{})
		}
		if runs := l.close(); runs != c.runs {
			t.Errorf("used %v, refused %v: runs %v", c.used, c.refused, runs)
		}
		if l.close() {
			t.Error("a second close has something to wait for")
		}
	}
}
