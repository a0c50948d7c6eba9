package cli

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
)

// Both forms of the log count a storm, and neither hides an error behind another.
func TestTheLogCountsAStorm(t *testing.T) {
	for format, count := range map[string]string{"text": "suppressed=979", "json": `"suppressed":979`} {
		synctest.Test(t, func(t *testing.T) {
			var b bytes.Buffer
			log, counted := newLogger(&b, slog.LevelInfo, format)
			for range 1000 {
				log.Error("commit failed", "topic", "orders")
			}
			log.Error("partition halted", "topic", "orders")
			counted.Close()
			text := b.String()
			if strings.Count(text, "commit failed") != 21 || strings.Count(text, count) != 1 || strings.Count(text, "partition halted") != 1 {
				t.Errorf("%s: %s", format, text)
			}
		})
	}
}
