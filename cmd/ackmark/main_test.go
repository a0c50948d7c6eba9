package main

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ackmark/ackmark/internal/childproc"
	"github.com/ackmark/ackmark/internal/peercred"
)

var update = flag.Bool("update", false, "rewrite the expected texts in testdata/*.txtar")

// TestMain lets the scripts run this binary as `ackmark`, in processes of its own; the demo's
// children are such processes too.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"ackmark": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		// peers: this system says which process is at the other end of a unix socket.
		Condition: func(name string) (bool, error) {
			if name != "peers" {
				return false, fmt.Errorf("there is no condition %q", name)
			}
			return peercred.Known, nil
		},
		UpdateScripts: *update,
		Setup: func(env *testscript.Env) error {
			// A unix socket's path has 108 bytes at most: shorter than many temporary directories.
			dir, err := os.MkdirTemp("", "ack")
			if err != nil {
				return err
			}
			env.Defer(func() { os.RemoveAll(dir) })
			env.Setenv("SOCK", dir)
			env.Values[processesKey{}] = &processes{byName: map[string]*childproc.Process{}, connected: make(chan struct{}, 100)}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"broker": startBroker, "stopbroker": stopBroker, "emit": emit, "eventually": eventually, "json": checkJSON,
			"start": start, "signal": sendSignal, "exits": exits, "uppercase": uppercase, "rewind": rewind, "aborted": aborted, "reject": reject, "plain": plain, "stuck": stuck,
			"silent": silent, "accepted": accepted, "logs": logs, "look": look, "systemd": systemd, "told": told,
		},
	})
}
