package consumer

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The waits are the pipeline's; the end of the assignment is no outcome, and the end of
// HandlerTimeout is one.
func TestRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := errors.New("down")
		m := NewMessage(&kgo.Record{Topic: "t", Offset: 7}, nil)
		begun := time.Now()
		var at []time.Duration
		err := m.Retry(func(ctx context.Context) error {
			if at = append(at, time.Since(begun)); len(at) < 12 {
				return down
			}
			return nil
		})
		wantNil(t, err)
		if at[1] < 80*time.Millisecond || at[1] > 120*time.Millisecond || at[11]-at[10] < 8*time.Second || at[11]-at[10] > 12*time.Second {
			t.Errorf("attempts at %v", at)
		}
		time.AfterFunc(time.Minute, func() { m.run.part.end(ErrRevoked) })
		err = m.Retry(func(context.Context) error { return down })
		if !errors.Is(err, ErrRevoked) || !errors.Is(err, down) {
			t.Errorf("got %v", err)
		}
	})
}

// A loop whose database is down for a while goes on by itself, and nothing halts.
func TestRetryInALoop(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.feed(0, 10)
		cfg := l.config()
		c, err := New(cfg)
		wantNil(t, err)
		up := time.Now().Add(time.Minute)
		n := 0
		for m, err := range c.Messages(t.Context()) {
			wantNil(t, err)
			m.Done(m.Retry(func(context.Context) error {
				if m.Offset == 4 && time.Now().Before(up) {
					return errors.New("the database is down")
				}
				return nil
			}))
			if n++; n == 10 {
				break
			}
		}
		wantNil(t, c.Close())
		if got := l.committed(0); got < 9 {
			t.Errorf("committed %d", got)
		}
	})
}

// A message made for a test behaves as one that was handed out, and one made by hand says what to
// do.
func TestNewMessage(t *testing.T) {
	var got []error
	m := NewMessage(&kgo.Record{Topic: "t", Partition: 3, Offset: 7}, func(err error) { got = append(got, err) })
	if !m.Start() || m.Context().Err() != nil || m.Assignment().Partition != 3 || m.Index() != 0 {
		t.Error("it cannot be handled")
	}
	m.Done(nil)
	m.Done(errors.New("the first call wins"))
	DoneAll([]*Message{m})
	bad := errors.New("bad")
	f := NewMessage(&kgo.Record{Topic: "t"}, func(err error) { got = append(got, err) })
	f.Done(bad)
	if len(got) != 2 || got[0] != nil || !errors.Is(got[1], bad) || f.Start() {
		t.Errorf("outcomes %v", got)
	}
	all := NewMessage(&kgo.Record{Topic: "t"}, func(err error) { got = append(got, err) })
	DoneAll([]*Message{all})
	if len(got) != 3 {
		t.Errorf("outcomes %v", got)
	}
	for name, use := range map[string]func(*Message){
		"Done": func(m *Message) { m.Done(nil) }, "failed": func(m *Message) { m.Done(bad) }, "Start": func(m *Message) { m.Start() },
		"DoneAll": func(m *Message) { DoneAll([]*Message{m}) }, "Context": func(m *Message) { m.Context() },
	} {
		func() {
			defer func() {
				if text, _ := recover().(string); !strings.Contains(text, "NewMessage") {
					t.Errorf("%s panics with %q", name, text)
				}
			}()
			use(&Message{Record: &kgo.Record{}})
		}()
	}
}
