package sidecar

import (
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestSameOwner(t *testing.T) {
	conn := new(net.UnixConn)
	unix := func(uid uint32, pid int32, inode uint64) peerInfo {
		return peerInfo{conn: conn, UID: uid, PID: pid, inode: inode}
	}
	cert := func(c string) peerInfo { return peerInfo{certificate: c} }
	for name, x := range map[string]struct {
		token   bool
		was, is peerInfo
		dead    bool
		want    bool
	}{
		"same process":                      {was: unix(1, 7, 70), is: unix(1, 7, 70), want: true},
		"another process":                   {was: unix(1, 7, 70), is: unix(1, 8, 80)},
		"another user":                      {was: unix(1, 7, 70), is: unix(2, 7, 70)},
		"the pid of a dead process":         {was: unix(1, 7, 70), is: unix(1, 7, 71)},
		"old kernel, same process":          {was: unix(1, 7, 0), is: unix(1, 7, 0), want: true},
		"old kernel, another process":       {was: unix(1, 7, 0), is: unix(1, 8, 0)},
		"old kernel, the pid of a dead one": {was: unix(1, 7, 0), is: unix(1, 7, 0), dead: true},
		"old kernel, one namespace hidden":  {was: unix(1, 7, 0), is: unix(1, 0, 0)},
		"both hidden, same user":            {was: unix(1, 0, 0), is: unix(1, 0, 0), want: true},
		"both hidden, another user":         {was: unix(1, 0, 0), is: unix(2, 0, 0)},
		"the app's token":                   {token: true, was: unix(1, 7, 70), is: unix(2, 8, 80), want: true},
		"same certificate":                  {was: cert("a"), is: cert("a"), want: true},
		"another certificate":               {was: cert("a"), is: cert("b")},
		"no certificate":                    {was: cert("a"), is: peerInfo{}},
		"a listener of the user's own":      {want: true},
	} {
		if got := sameOwner(x.token, x.was, x.is, x.dead); got != x.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// Each refusal is counted; the log has one line for a kind and user in ten seconds, and no more
// kinds than are kept.
func TestRefusalsAreCountedAndPaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text strings.Builder
		log := slog.New(slog.NewTextHandler(&text, nil))
		var r refusals
		for range 100 {
			r.note(log, peerInfo{UID: 5}, "app", refusedApp, "wrong token")
			r.note(log, peerInfo{UID: 5}, "app", refusedTopic, strings.Repeat("x", 4096))
		}
		if n := strings.Count(text.String(), "\n"); n != 2 || r.counts[refusedApp] != 100 || r.counts[refusedTopic] != 100 || text.Len() > 2000 {
			t.Errorf("%d lines, %v counted, %d characters", n, r.counts, text.Len())
		}
		if !strings.Contains(text.String(), "uid=5") || !strings.Contains(text.String(), "app=app") {
			t.Errorf("the line does not say who: %s", text.String())
		}
		time.Sleep(refusalEvery)
		r.note(log, peerInfo{UID: 5}, "app", refusedApp, "wrong token")
		if n := strings.Count(text.String(), "\n"); n != 3 || !strings.Contains(text.String(), "refusals=101") {
			t.Errorf("%d lines: %s", n, text.String())
		}
		quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
		for uid := range uint32(10_000) {
			r.note(quiet, peerInfo{UID: uid}, "app", refusedApp, "")
		}
		if len(r.logged) > maxRefusals {
			t.Errorf("%d kept", len(r.logged))
		}
	})
}
