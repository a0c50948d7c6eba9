package cli

import (
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/lmittmann/tint"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/term"
	"github.com/ackmark/ackmark/internal/storm"
)

// newLogger writes JSON, or coloured text for people: format auto decides by whether w is a
// terminal. A storm of the same line is counted; the handler has to be closed at the end, for its
// last count.
func newLogger(w io.Writer, level slog.Leveler, format string) (*slog.Logger, *storm.Handler) {
	h := storm.New(lineHandler(w, level, format))
	return slog.New(h), h
}

func lineHandler(w io.Writer, level slog.Leveler, format string) slog.Handler {
	f, isFile := w.(*os.File)
	isTerminal := false
	if isFile {
		_, isTerminal = term.Width(int(f.Fd()))
	}
	if format == "text" || (format == "auto" && isTerminal) {
		return tint.NewTextHandler(w, &tint.Options{Level: level, TimeFormat: time.TimeOnly, NoColor: !isTerminal})
	}
	return slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: readableDurations})
}

// readableDurations writes 20s where JSON would have 20000000000.
func readableDurations(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}
