//go:build linux && !portable

package sidecar_test

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/ackmark/ackmark/internal/sessionfile"
	"github.com/ackmark/ackmark/sidecar"
	"github.com/ackmark/ackmark/sidecar/sidecartest"
)

// A successor knows the processes of its predecessor by pid and start: one that lives is waited for
// beyond the grace, and one that dies is not waited for at all. Of an unknown one the grace
// decides.
func TestASuccessorKnowsTheLivingAndTheDead(t *testing.T) {
	kafka := cluster(t)
	child := exec.Command("sleep", "600")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = child.Process.Kill() }()
	living, there := sessionfile.Find(int32(child.Process.Pid))
	if !there {
		t.Fatal("a process that runs is not found")
	}
	another := living
	another.Start++ // its id was another process's before
	dir := t.TempDir()
	left, err := sessionfile.Open(dir, sessionfile.DefaultLimit)
	if err != nil {
		t.Fatal(err)
	}
	for id, s := range map[string]sessionfile.Session{
		"living":  {Process: living, Local: true, UID: uint32(os.Getuid())},
		"another": {Process: another, Local: true, UID: uint32(os.Getuid())},
		"unknown": {},
	} {
		s.ID, s.App = id, "app"
		f, err := left.Create(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.SetMembership(sessionfile.Membership{Group: "g", Consumer: 1, ID: "member of " + id}); err != nil {
			t.Fatal(err)
		}
		f.Close(false)
	}
	sc := sidecartest.Start(t, kafka.ListenAddrs(), func(c *sidecar.Config) { c.ReconnectGrace, c.StateDir = 50*time.Millisecond, dir })
	sessions := func() map[string]bool {
		st, err := sc.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		all := map[string]bool{}
		for _, s := range st.GetSessions() {
			all[s.GetSessionId()] = true
		}
		return all
	}
	<-sc.Serving() // they are there before it serves, not before it listens
	for now := sessions(); now["unknown"] || now["another"]; now = sessions() {
		time.Sleep(time.Millisecond)
	}
	if !sessions()["living"] {
		t.Error("the will of a process that lives was executed")
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	for sessions()["living"] {
		time.Sleep(time.Millisecond)
	}
	if n := len(stateFiles(t, dir)); n != 0 {
		t.Errorf("%d files stay", n)
	}
}
