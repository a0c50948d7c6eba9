package apps

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ackmark/ackmark/internal/telemetry"
	"github.com/ackmark/ackmark/sidecar/internal/flows"
	"github.com/ackmark/ackmark/sidecar/internal/peer"
)

// Each refusal is counted; the log has one line for a kind and user in ten seconds, and no more
// kinds than are kept.
func TestRefusalsAreCountedAndPaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text strings.Builder
		log := slog.New(slog.NewTextHandler(&text, nil))
		r := refusals{log: log, label: func(string) (string, bool) { return "", false }}
		for range 100 {
			r.Note(peer.Info{UID: 5}, "app", refusedApp, "wrong token")
			r.Note(peer.Info{UID: 5}, "app", RefusedTopic, strings.Repeat("x", 4096))
		}
		if n := strings.Count(text.String(), "\n"); n != 2 || r.counts[refusalOf{why: refusedApp}] != 100 || r.counts[refusalOf{why: RefusedTopic}] != 100 || text.Len() > 2000 {
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

// Refusals are counted for each app that is known, of which few are told apart: names that a peer
// makes up have no label, and the apps' places are not theirs.
func TestRefusalsAreOfAppsThatAreKnown(t *testing.T) {
	as := New(Config{Counts: flows.New(nil).App, Log: slog.New(slog.DiscardHandler), Ring: 1, Reports: 1000})
	const came = 2 * flows.MaxApps
	for i := range came {
		if _, err := as.Get(fmt.Sprint("app-", i), ""); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 1000 {
		as.Refusals.Note(peer.Info{}, fmt.Sprint("app-", i), RefusedTopic, "")
		as.Refusals.Note(peer.Info{}, "", RefusedUser, "")
	}
	of := func(why Refusal, app string, known bool) uint64 {
		return as.Refusals.counts[refusalOf{why, app, known}]
	}
	if n := len(as.Refusals.counts); n != flows.MaxApps+1+1+1 {
		t.Errorf("%d series of refusals", n)
	}
	if one, others, none, user := of(RefusedTopic, "app-7", true), of(RefusedTopic, telemetry.Other, true), of(RefusedTopic, "", false), of(RefusedUser, "", false); one != 1 || others != flows.MaxApps || none != 1000-came || user != 1000 {
		t.Errorf("%d of one app, %d of others, %d of names, %d of users", one, others, none, user)
	}
	if all := as.Refusals.Status(); len(all) != 2 || all[0].GetCount() != 1000 || all[1].GetCount() != 1000 {
		t.Errorf("Status tells %v", all)
	}
}
