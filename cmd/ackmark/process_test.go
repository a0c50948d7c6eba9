package main

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ackmark/ackmark/internal/devbroker"
)

// processes are the background processes of one script. They die with it, also when it fails: an
// orphan would hold its pipes open and hang the tests.
type processes struct {
	byName map[string]*background
	broker *devbroker.Broker

	connected chan struct{} // to a silent listener
}

type background struct {
	cmd    *exec.Cmd
	exited chan struct{}
	mu     sync.Mutex
	stderr bytes.Buffer
}

func (b *background) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.stderr.Write(p)
}

func (b *background) log() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.stderr.String()
}

type processesKey struct{}

func processesOf(ts *testscript.TestScript) *processes { return ts.Value(processesKey{}).(*processes) }

func (p *processes) named(ts *testscript.TestScript, name string) *background {
	b := p.byName[name]
	if b == nil {
		ts.Fatalf("no process is called %s: start it", name)
	}
	return b
}

// start is the script command `start NAME ackmark ARG…`.
func start(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: start name command arg…")
	}
	path, err := exec.LookPath(args[1])
	ts.Check(err)
	b := &background{cmd: exec.Command(path, args[2:]...), exited: make(chan struct{})}
	b.cmd.Env = append(os.Environ(), "TMPDIR="+ts.Getenv("TMPDIR"))
	b.cmd.Stderr = b
	b.cmd.WaitDelay = time.Second
	ts.Check(b.cmd.Start())
	processesOf(ts).byName[args[0]] = b
	go func() {
		_ = b.cmd.Wait() // the exit code is read from ProcessState
		close(b.exited)
	}()
	ts.Defer(func() {
		_ = b.cmd.Process.Kill()
		<-b.exited
	})
}

// silent is the script command `silent SOCKET`: there, and at $SILENT by TCP, somebody listens who
// never answers.
func silent(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: silent socket")
	}
	connected := processesOf(ts).connected
	listen := func(network, address string) net.Addr {
		lis, err := net.Listen(network, address)
		ts.Check(err)
		ts.Defer(func() { _ = lis.Close() })
		go func() {
			for {
				conn, err := lis.Accept()
				if err != nil {
					return
				}
				ts.Defer(func() { _ = conn.Close() })
				connected <- struct{}{}
			}
		}()
		return lis.Addr()
	}
	listen("unix", args[0])
	ts.Setenv("SILENT", listen("tcp", "127.0.0.1:0").String())
}

// accepted is the script command `accepted`: somebody has connected to a silent listener since it
// was last asked.
func accepted(ts *testscript.TestScript, _ bool, _ []string) {
	select {
	case <-processesOf(ts).connected:
	case <-time.After(20 * time.Second):
		ts.Fatalf("nobody connected within 20 s")
	}
}

// logs is the script command `logs NAME TEXT`: the process writes this to its standard error within
// 20 s.
func logs(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: logs name text")
	}
	b := processesOf(ts).named(ts, args[0])
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for deadline := time.After(20 * time.Second); !strings.Contains(b.log(), args[1]); {
		select {
		case <-again.C:
		case <-deadline:
			ts.Fatalf("%s did not write %q, but:\n%s", args[0], args[1], b.log())
		}
	}
}

// sendSignal is the script command `signal NAME TERM|INT`.
func sendSignal(ts *testscript.TestScript, neg bool, args []string) {
	signals := map[string]os.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT}
	if neg || len(args) != 2 || signals[args[1]] == nil {
		ts.Fatalf("usage: signal name TERM|INT")
	}
	ts.Check(processesOf(ts).named(ts, args[0]).cmd.Process.Signal(signals[args[1]]))
}

// exits is the script command `exits NAME CODE [TEXT]`: it ends within 20 s, with this code and
// this text on its standard error.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: exits name code [text]")
	}
	b := processesOf(ts).named(ts, args[0])
	select {
	case <-b.exited:
	case <-time.After(20 * time.Second):
		ts.Fatalf("%s did not end within 20 s; it wrote:\n%s", args[0], b.log())
	}
	if code := strconv.Itoa(b.cmd.ProcessState.ExitCode()); code != args[1] {
		ts.Fatalf("%s ended with code %s, want %s; it wrote:\n%s", args[0], code, args[1], b.log())
	}
	if len(args) == 3 && !bytes.Contains([]byte(b.log()), []byte(args[2])) {
		ts.Fatalf("%s did not write %q, but:\n%s", args[0], args[2], b.log())
	}
}
