package cli

import (
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/lmittmann/tint"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/term"
)

// newLogger writes JSON, or coloured text for people: format auto decides by whether w is a
// terminal.
func newLogger(w io.Writer, level slog.Level, format string) *slog.Logger {
	f, isFile := w.(*os.File)
	isTerminal := false
	if isFile {
		_, isTerminal = term.Width(int(f.Fd()))
	}
	if format == "text" || (format == "auto" && isTerminal) {
		return slog.New(tint.NewTextHandler(w, &tint.Options{Level: level, TimeFormat: time.TimeOnly, NoColor: !isTerminal}))
	}
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: readableDurations}))
}

// readableDurations writes 20s where JSON would have 20000000000.
func readableDurations(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}
