package sidecar

import (
	"log/slog"
	"testing"

	"github.com/ackmark/ackmark/internal/storm"
)

// A storm of a line is counted in whatever log the user gives.
func TestTheUsersLogCountsAStorm(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	for name, got := range map[string]*slog.Logger{"Config": Config{Logger: log}.WithDefaults().Logger} {
		if _, counts := got.Handler().(*storm.Handler); !counts {
			t.Errorf("%s: the log's handler is a %T", name, got.Handler())
		}
	}
}
