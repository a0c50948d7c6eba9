package sidecar_test

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/ackmark/ackmark/sidecar"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
	"github.com/ackmark/ackmark/sidecar/sidecartest"
)

const childTarget = "ACKMARK_TEST_SIDECAR"

// TestChildProcess is the app that TestProvenDeath kills. It is no test of its own.
func TestChildProcess(t *testing.T) {
	target := os.Getenv(childTarget)
	if target == "" {
		t.Skip("only as a child of TestProvenDeath")
	}
	c := openStream(t, dial(t, target))
	c.send(helloMsg(&sidecarpb.Hello{Version: 1, App: "app", SessionId: "child", Features: []string{"resume"}}))
	if err := c.until(func() bool { return c.welcome != nil }); err != nil {
		t.Fatal(err)
	}
	c.units(plain("out", 3)...)
	c.reported(3)
	if _, err := os.Stdout.WriteString("ready\n"); err != nil {
		t.Fatal(err)
	}
	select {}
}

// A process that is killed is not waited for: its death is proven by its pid, not by the grace. One
// that only closes its connection is.
func TestProvenDeath(t *testing.T) {
	if !sidecar.ProvesDeaths {
		t.Skip("this system has no pidfds: no death is proven")
	}
	kafka := cluster(t)
	sc := sidecartest.Start(t, kafka.ListenAddrs(), func(c *sidecar.Config) { c.ReconnectGrace = time.Hour })
	cmd := exec.Command(os.Args[0], "-test.run=^TestChildProcess$")
	cmd.Env = append(os.Environ(), childTarget+"="+sc.Target)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	ready := make([]byte, 6)
	if _, err := out.Read(ready); err != nil || string(ready) != "ready\n" {
		t.Fatalf("the child said %q: %v", ready, err)
	}
	living := openStream(t, dial(t, sc.Target))
	living.send(helloMsg(&sidecarpb.Hello{Version: 1, App: "app", SessionId: "living", Features: []string{"resume"}}))
	if err := living.until(func() bool { return living.welcome != nil }); err != nil {
		t.Fatal(err)
	}
	living.cancel()
	for broken := false; !broken; time.Sleep(time.Millisecond) { // the sidecar hears of it in its own time
		st, err := sc.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range st.GetSessions() {
			broken = broken || s.GetSessionId() == "living" && s.GetState() == "broken"
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	for {
		st, err := sc.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if st.GetWills().GetExecuted() == 1 {
			if len(st.GetSessions()) != 1 || st.GetSessions()[0].GetSessionId() != "living" || st.GetSessions()[0].GetState() != "broken" {
				t.Errorf("sessions %v: want the living one, broken", st.GetSessions())
			}
			break
		}
		if time.Since(killed) > 20*time.Second {
			t.Fatal("no will was executed: the death was not seen")
		}
		time.Sleep(time.Millisecond)
	}
	t.Logf("will executed %v after the kill", time.Since(killed))
	_ = cmd.Wait()
}
