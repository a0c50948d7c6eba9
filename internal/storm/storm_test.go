package storm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/slogtest"
	"testing/synctest"
	"time"
)

type fields = map[string]any

// lines that a JSON handler wrote.
func lines(t *testing.T, b *bytes.Buffer) (all []fields) {
	t.Helper()
	for text := range strings.Lines(b.String()) {
		var one fields
		if err := json.Unmarshal([]byte(text), &one); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		all = append(all, one)
	}
	return all
}

func jsonHandler(b *bytes.Buffer) *Handler { return New(slog.NewJSONHandler(b, nil)) }

func suppressed(f fields) int {
	n, _ := f["suppressed"].(float64)
	return int(n)
}

// A storm of ten seconds: the first lines, one a second with a count, and no line is neither
// printed nor counted. After a quiet while all is as in the beginning.
func TestAStormIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		h := jsonHandler(&b)
		log := slog.New(h)
		const storm = 1000
		for i := range storm {
			log.Warn("commit failed", "topic", "orders", "err", errors.New("no leader"), "i", i)
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		got := lines(t, &b)
		if len(got) < first+9 || len(got) > first+11 {
			t.Errorf("%d lines were printed", len(got))
		}
		counted := 0
		for i, f := range got {
			counted += 1 + suppressed(f)
			if i < first != (suppressed(f) == 0) {
				t.Errorf("line %d says suppressed=%d", i, suppressed(f))
			}
			if f["err"] != "no leader" || f["topic"] != "orders" {
				t.Errorf("line %d is %v", i, f)
			}
			if i > first+1 && int(got[i]["i"].(float64)-got[i-1]["i"].(float64)) < 99 { // the timer and the line of the same moment may come in either order
				t.Errorf("line %d is less than a second behind the one before", i)
			}
		}
		if counted != storm {
			t.Errorf("%d of %d lines are printed or counted", counted, storm)
		}
		b.Reset()
		for range first {
			log.Warn("commit failed", "topic", "orders")
		}
		if n := len(lines(t, &b)); n != first {
			t.Errorf("after a quiet minute %d of %d first lines were printed", n, first)
		}
		h.Close()
	})
}

// A line a second is no storm.
func TestASlowLineIsPrinted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		log := slog.New(jsonHandler(&b))
		for range 10 * first {
			log.Info("Kafka is reachable")
			time.Sleep(pace)
		}
		if got := lines(t, &b); len(got) != 10*first || suppressed(got[len(got)-1]) != 0 {
			t.Errorf("%d of %d lines were printed", len(got), 10*first)
		}
	})
}

// In the storm of one line each other one is printed: another message, level, topic, app, group of
// fields, or debug lines.
func TestAStormHidesNoOtherLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		h := New(slog.NewJSONHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug}))
		log := slog.New(h)
		for range 10 * first {
			log.Error("a", "topic", "t", "app", "x")
		}
		for name, other := range map[string]func(){
			"message":       func() { log.Error("b", "topic", "t", "app", "x") },
			"level":         func() { log.Warn("a", "topic", "t", "app", "x") },
			"topic":         func() { log.Error("a", "topic", "u", "app", "x") },
			"app":           func() { log.Error("a", "topic", "t", "app", "y") },
			"app before":    func() { log.With("app", "y").Error("a", "topic", "t") },
			"no topic":      func() { log.Error("a", "app", "x") },
			"names shifted": func() { log.Error("a", "topic", "tapp", "x", "") },
			"group":         func() { log.WithGroup("g").Error("a", "topic", "t", "app", "x") },
		} {
			b.Reset()
			other()
			if len(lines(t, &b)) != 1 {
				t.Errorf("another %s is not printed", name)
			}
		}
		b.Reset()
		log.With("topic", "t").Error("a", "app", "x", "offset", 7)
		if b.Len() > 0 {
			t.Errorf("this is the same line: %s", &b)
		}
		for range 10 * first {
			log.Debug("d")
		}
		if n := len(lines(t, &b)); n != 10*first {
			t.Errorf("%d of %d debug lines are printed", n, 10*first)
		}
		h.Close()
	})
}

// Close prints what is held, and nothing is held or printed later.
func TestCloseTellsWhatIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		h := jsonHandler(&b)
		log := slog.New(h)
		for range first + 5 {
			log.Warn("a")
		}
		h.Close()
		got := lines(t, &b)
		if len(got) != first+1 || suppressed(got[first]) != 4 {
			t.Errorf("got %v", got)
		}
		log.Warn("a")
		time.Sleep(time.Minute)
		if n := len(lines(t, &b)); n != first+2 {
			t.Errorf("%d lines at the end", n)
		}
		h.Close()
	})
}

// Names without end: the memory has a bound, a storm of one message is still counted, and where
// even the messages are too many, each is printed.
func TestMemoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		h := jsonHandler(&b)
		log := slog.New(h)
		for i := range 10 * kinds {
			log.Warn("refused", "app", fmt.Sprint(i))
		}
		if n := len(lines(t, &b)); n != kinds+first {
			t.Errorf("%d lines of %d apps were printed, want %d", n, 10*kinds, kinds+first)
		}
		b.Reset()
		for i := range 10 * kinds {
			log.Error(fmt.Sprint("message ", i))
		}
		if n := len(lines(t, &b)); n != 10*kinds {
			t.Errorf("%d of %d messages were printed", n, 10*kinds)
		}
		if n := len(h.counts.kinds); n > 2*kinds {
			t.Errorf("%d kinds are kept", n)
		}
		time.Sleep(time.Hour)
		log.Error("much later")
		if n := len(h.counts.kinds); n != 1 {
			t.Errorf("an hour later %d kinds are kept", n)
		}
	})
}

// The held line is as it was when it was logged, with the fields and groups of its logger; the
// count stands outside the groups.
func TestTheHeldLineIsWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		h := jsonHandler(&b)
		brokers := []string{"a:1", "b:1"}
		state := fields{"n": 1}
		log := slog.New(h).With("app", "x").WithGroup("kafka").With("brokers", brokers)
		for range first + 3 {
			log.Warn("slow", "last", brokers, "state", state, slog.Group("in", "err", errors.New("no leader"), "none", nil))
		}
		brokers[0], state["n"] = "changed", 2
		h.Close()
		got := lines(t, &b)
		held, before := got[len(got)-1], got[0]
		if suppressed(held) != 2 {
			t.Errorf("got %v", held)
		}
		delete(held, "suppressed")
		before["kafka"].(fields)["state"] = "map[n:1]" // what is no plain value is a text when it comes late
		if fmt.Sprint(held) != fmt.Sprint(before) {
			t.Errorf("held %v\nwant %v", held, before)
		}
		if !slices.Equal(slices.Sorted(maps.Keys(held)), []string{"app", "kafka", "level", "msg", "time"}) {
			t.Errorf("fields of %v", held)
		}
	})
}

// It is a handler as slog demands it.
func TestItIsAHandler(t *testing.T) {
	var b bytes.Buffer
	if err := slogtest.TestHandler(jsonHandler(&b), func() []map[string]any { return lines(t, &b) }); err != nil {
		t.Error(err)
	}
}

// A logger is wrapped once, with what it has, however often it is asked for.
func TestCounted(t *testing.T) {
	var b bytes.Buffer
	log := Counted(slog.New(slog.NewJSONHandler(&b, nil)).With("app", "a"))
	again := Counted(log.With("group", "g"))
	if h, ok := again.Handler().(*Handler); !ok {
		t.Fatalf("the handler is a %T", again.Handler())
	} else if _, twice := h.next.(*Handler); twice {
		t.Error("it is counted twice")
	}
	if Counted(log) != log {
		t.Error("a logger that counts is another one")
	}
	again.Warn("said")
	if got := lines(t, &b); len(got) != 1 || got[0]["app"] != "a" || got[0]["group"] != "g" {
		t.Errorf("%v", got)
	}
	if _, ok := Counted(nil).Handler().(*Handler); !ok {
		t.Error("slog's default does not count")
	}
}

// Who asked for a logger that counts gives back what it holds when he ends: nothing is printed
// after that, and nothing is lost. A handler of somebody's own is left alone.
func TestEndPrintsWhatIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b, own bytes.Buffer
		log, kept := Counted(slog.New(slog.NewJSONHandler(&b, nil))), slog.New(jsonHandler(&own))
		for range 100 {
			log.With("app", "a").Warn("said")
			Counted(kept).Warn("said")
		}
		End(log)
		End(Counted(kept))
		got := lines(t, &b)
		if n := len(got); n != first+1 || n+suppressed(got[n-1]) != 100 {
			t.Errorf("%d lines at the end, and of the last %d more", n, suppressed(got[n-1]))
		}
		log.Warn("behind it")
		for range 10 {
			kept.Warn("said") // a storm still
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := len(lines(t, &own)); n != first+1 {
			t.Errorf("%d lines of a handler that its owner has not closed", n)
		}
		if n := len(lines(t, &b)); n != first+2 {
			t.Errorf("%d lines a minute later", n)
		}
	})
}
