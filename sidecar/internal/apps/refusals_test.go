package apps

import (
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ackmark/ackmark/sidecar/internal/peer"
)

// Each refusal is counted; the log has one line for a kind and user in ten seconds, and no more
// kinds than are kept.
func TestRefusalsAreCountedAndPaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text strings.Builder
		log := slog.New(slog.NewTextHandler(&text, nil))
		r := refusals{log: log}
		for range 100 {
			r.Note(peer.Info{UID: 5}, "app", refusedApp, "wrong token")
			r.Note(peer.Info{UID: 5}, "app", RefusedTopic, strings.Repeat("x", 4096))
		}
		if n := strings.Count(text.String(), "\n"); n != 2 || r.counts[refusedApp] != 100 || r.counts[RefusedTopic] != 100 || text.Len() > 2000 {
			t.Errorf("%d lines, %v counted, %d characters", n, r.counts, text.Len())
		}
		if !strings.Contains(text.String(), "uid=5") || !strings.Contains(text.String(), "app=app") {
			t.Errorf("the line does not say who: %s", text.String())
		}
		time.Sleep(refusalEvery)
		r.Note(peer.Info{UID: 5}, "app", refusedApp, "wrong token")
		if n := strings.Count(text.String(), "\n"); n != 3 || !strings.Contains(text.String(), "refusals=101") {
			t.Errorf("%d lines: %s", n, text.String())
		}
		r.log = slog.New(slog.NewTextHandler(io.Discard, nil))
		for uid := range uint32(10_000) {
			r.Note(peer.Info{UID: uid}, "app", refusedApp, "")
		}
		if len(r.logged) > maxRefusals {
			t.Errorf("%d kept", len(r.logged))
		}
	})
}
