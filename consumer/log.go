package consumer

import (
	"context"
	"log/slog"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

const expected = "received an OffsetCommitResponse after our group session has ended"

// clientLogger passes the client's log on, one level lower: what it calls info is detail here.
//
// One of its warnings is expected: the start of a partition is committed before the client books
// the partition as read.
type clientLogger struct{ log *slog.Logger }

func (l clientLogger) Level() kgo.LogLevel {
	ctx := context.Background()
	switch {
	case l.log.Enabled(ctx, slog.LevelDebug-4):
		return kgo.LogLevelDebug
	case l.log.Enabled(ctx, slog.LevelDebug):
		return kgo.LogLevelInfo
	case l.log.Enabled(ctx, slog.LevelWarn):
		return kgo.LogLevelWarn
	}
	return kgo.LogLevelError
}

func (l clientLogger) Log(level kgo.LogLevel, msg string, keyvals ...any) {
	to := slog.LevelDebug - 4
	switch level {
	case kgo.LogLevelError, kgo.LogLevelWarn:
		to = slog.LevelWarn
		if strings.HasPrefix(msg, expected) {
			to = slog.LevelDebug
		}
	case kgo.LogLevelInfo:
		to = slog.LevelDebug
	}
	l.log.Log(context.Background(), to, "kafka client: "+msg, keyvals...)
}
