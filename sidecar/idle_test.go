// Elsewhere gRPC keeps a read buffer for each connection, since nobody tells when there is
// something to read.

//go:build unix && !portable

package sidecar_test

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/pprof"
	"testing"
	"time"

	"github.com/ackmark/ackmark/sidecar"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
	"github.com/ackmark/ackmark/sidecar/sidecartest"
)

const (
	idleTarget   = "ACKMARK_TEST_IDLE_SIDECAR"
	idleSessions = 200
	// idleMost is what an idle session may take. Measured are 37 KB: a little less than half of it
	// heap, the rest the stacks of its five goroutines, which have 4 KiB each. One of them with 8
	// KiB is too much.
	idleMost = 40_000
	settled  = 64 << 10 // what two looks at a sidecar that does nothing differ by
	// On a loaded machine what has to end does so late.
	idlePatience = 5 * time.Second
)

// TestIdleClients are the apps of TestMemoryOfIdleSessions. It is no test of its own.
func TestIdleClients(t *testing.T) {
	target := os.Getenv(idleTarget)
	if target == "" {
		t.Skip("only as a child of TestMemoryOfIdleSessions")
	}
	for i := range idleSessions {
		c := openStream(t, dial(t, target))
		c.send(helloMsg(&sidecarpb.Hello{Version: 1, App: "app", SessionId: fmt.Sprint("s", i), Features: []string{"resume", "credit"}}))
		if err := c.until(func() bool { return c.welcome != nil }); err != nil {
			t.Fatal(err)
		}
		c.units(plain("out", 1)...)
		c.reported(1)
	}
	if _, err := os.Stdout.WriteString("ready\n"); err != nil {
		t.Fatal(err)
	}
	_, _ = os.Stdin.Read(make([]byte, 1)) // until it is closed
}

// heldByAll is the heap and the stacks, without those that each thread has for itself: how many
// threads there are is no session's doing.
func heldByAll() int64 {
	const perThread = 48 << 10
	heap := liveHeap()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return heap + int64(m.StackInuse) - perThread*int64(pprof.Lookup("threadcreate").Count())
}

// A session that has delivered something and rests takes little: no goroutine of it waits with the
// deep stack of one that works, and nothing is kept for what may never come.
func TestMemoryOfIdleSessions(t *testing.T) {
	if underRace {
		t.Skip("the race detector's stacks are deeper")
	}
	kafka := cluster(t)
	sc := sidecartest.Start(t, kafka.ListenAddrs(), func(c *sidecar.Config) { c.MaxSessions = idleSessions + 1 })
	first := hello(t, dial(t, sc.Target), "first")
	first.units(plain("out", 1)...)
	first.reported(1)
	before, now := int64(0), heldByAll()
	for begun := time.Now(); max(before-now, now-before) > settled && time.Since(begun) < idlePatience; time.Sleep(sidecar.Rest) {
		before, now = now, heldByAll()
	}
	before = now
	cmd := exec.Command(os.Args[0], "-test.run=^TestIdleClients$")
	cmd.Env = append(os.Environ(), idleTarget+"="+sc.Target)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close(); _ = cmd.Wait() }()
	ready := make([]byte, 6)
	if _, err := out.Read(ready); err != nil || string(ready) != "ready\n" {
		t.Fatalf("the child said %q: %v", ready, err)
	}
	each := int64(0)
	for begun := time.Now(); time.Since(begun) < idlePatience; time.Sleep(sidecar.Rest) {
		if each = (heldByAll() - before) / idleSessions; each <= idleMost {
			break
		}
	}
	t.Logf("an idle session takes %d bytes", each)
	if each > idleMost {
		t.Errorf("an idle session takes %d bytes, at most %d are allowed", each, idleMost)
	}
}
