package configerr_test

import (
	"errors"
	"io/fs"
	"testing"
	"time"

	"github.com/ackmark/ackmark/internal/configerr"
)

// The one text form: whose, which field, its value or that it is missing, why, and what to do.
func TestText(t *testing.T) {
	for want, add := range map[string]func(l *configerr.List){
		`consumer: Config.Topics is missing: name them`:              func(l *configerr.List) { l.Missing("Topics", "name them") },
		`consumer: Config.MaxRecords is -1: at least 1`:              func(l *configerr.List) { l.Wrong("MaxRecords", -1, "at least 1") },
		`consumer: Config.Wait is 1s: at most 1ms`:                   func(l *configerr.List) { l.Wrong("Wait", time.Second, "at most 1ms") },
		`consumer: Config.Group is "": name it`:                      func(l *configerr.List) { l.Wrong("Group", "", "name it") },
		`consumer: Config.Brokers is ["a" "b"]: one`:                 func(l *configerr.List) { l.Wrong("Brokers", []string{"a", "b"}, "one") },
		`consumer: Config.Regex is set too: leave it out`:            func(l *configerr.List) { l.Wrong("Regex", configerr.Words("set too"), "leave it out") },
		`consumer: Config.CA is "x": file does not exist; create it`: func(l *configerr.List) { l.Failed("CA", "x", fs.ErrNotExist, "create it") },
		`consumer: Config.B is 2: less`: func(l *configerr.List) {
			l.If(false, "A", 1, "more")
			l.If(true, "B", 2, "less")
		},
	} {
		l := configerr.For("consumer.Config")
		add(l)
		if err := l.Err(); err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}

// All that is wrong is said at once, and none of it is lost.
func TestList(t *testing.T) {
	l := configerr.For("sidecar.Config")
	l.Add(nil)
	if err := l.Err(); err != nil {
		t.Errorf("nothing is wrong: %v", err)
	}
	l.Failed("A", 1, fs.ErrPermission, "grant it")
	if _, ok := l.Err().(*configerr.Error); !ok { //nolint:errorlint // the very type
		t.Errorf("one alone is not joined: %T", l.Err())
	}
	l.Wrong("B", 2, "less")
	err := l.Err()
	if want := "sidecar: Config.A is 1: permission denied; grant it\nsidecar: Config.B is 2: less"; err.Error() != want {
		t.Errorf("got %v", err)
	}
	if e, ok := errors.AsType[*configerr.Error](err); !ok || e.Field != "A" || !errors.Is(err, fs.ErrPermission) {
		t.Errorf("got %#v", e)
	}
}

// A configuration within another one is spoken of in the words of the outer one.
func TestWithin(t *testing.T) {
	inner := configerr.For("producer.DirectConfig")
	inner.Missing("Brokers", "name one")
	inner.Wrong("OnFull", 7, "choose")
	other := errors.New("another error")
	inner.Add(other)
	err := configerr.Within("producer.DialConfig", "Fallback.Direct", inner.Err())
	want := "producer: DialConfig.Fallback.Direct.Brokers is missing: name one\nproducer: DialConfig.Fallback.Direct.OnFull is 7: choose\nanother error"
	if err.Error() != want || !errors.Is(err, other) {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if inner.Err().Error() == err.Error() {
		t.Error("the inner error was changed")
	}
	if err := configerr.Within("a.B", "C", nil); err != nil {
		t.Errorf("nothing is wrong: %v", err)
	}
}
