package main

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ackmark/ackmark/internal/childproc"
	"github.com/ackmark/ackmark/internal/devbroker"
)

// processes are the background processes of one script. They die with it, also when it fails.
type processes struct {
	byName map[string]*childproc.Process
	broker *devbroker.Broker

	connected chan struct{} // to a silent listener
	systemd   <-chan string // what it was told; nil: there is none
}

type processesKey struct{}

func processesOf(ts *testscript.TestScript) *processes { return ts.Value(processesKey{}).(*processes) }

func (p *processes) named(ts *testscript.TestScript, name string) *childproc.Process {
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
	env := []string{"TMPDIR=" + ts.Getenv("TMPDIR")}
	for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC"} {
		env = append(env, name+"="+ts.Getenv(name))
	}
	p, err := childproc.Start(childproc.Spec{
		Name: args[0], Path: path, Args: args[2:], Env: env, Log: filepath.Join(ts.Getenv("WORK"), args[0]+".log"),
	})
	ts.Check(err)
	processesOf(ts).byName[args[0]] = p
	ts.Defer(p.Kill)
}

// logOf is what a process has written so far.
func logOf(p *childproc.Process) string {
	text, _ := os.ReadFile(p.Log)
	return string(text)
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
	for deadline := time.After(20 * time.Second); !strings.Contains(logOf(b), args[1]); {
		select {
		case <-again.C:
		case <-deadline:
			ts.Fatalf("%s did not write %q, but:\n%s", args[0], args[1], logOf(b))
		}
	}
}

// systemd is the script command `systemd`: processes that are started after it tell it how they
// stand, as services of Type=notify with a watchdog of 300 ms.
func systemd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: systemd")
	}
	path := filepath.Join(ts.Getenv("SOCK"), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	ts.Check(err)
	ts.Defer(func() { _ = conn.Close() })
	ts.Setenv("NOTIFY_SOCKET", path)
	ts.Setenv("WATCHDOG_USEC", "300000")
	heard := make(chan string, 10_000)
	go func() {
		defer close(heard)
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			heard <- string(buf[:n])
		}
	}()
	processesOf(ts).systemd = heard
}

// told is the script command `told TEXT`: a process tells systemd this within 20 s. What was told
// before it was told is forgotten.
func told(ts *testscript.TestScript, neg bool, args []string) {
	heard := processesOf(ts).systemd
	if neg || len(args) != 1 || heard == nil {
		ts.Fatalf("usage: told text, after systemd")
	}
	for late := time.After(20 * time.Second); ; {
		select {
		case text := <-heard:
			if strings.Contains(text, args[0]) {
				return
			}
		case <-late:
			ts.Fatalf("%q was not told within 20 s", args[0])
		}
	}
}

// sendSignal is the script command `signal NAME TERM|INT|HUP`.
func sendSignal(ts *testscript.TestScript, neg bool, args []string) {
	signals := map[string]syscall.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "HUP": syscall.SIGHUP}
	if neg || len(args) != 2 || signals[args[1]] == 0 {
		ts.Fatalf("usage: signal name TERM|INT|HUP")
	}
	ts.Check(processesOf(ts).named(ts, args[0]).Signal(signals[args[1]]))
}

// exits is the script command `exits NAME CODE [TEXT]`: it ends within 20 s, with this code and
// this text on its standard error.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: exits name code [text]")
	}
	p := processesOf(ts).named(ts, args[0])
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	code, err := p.Wait(ctx)
	if err != nil {
		ts.Fatalf("%s did not end within 20 s; it wrote:\n%s", args[0], logOf(p))
	}
	if strconv.Itoa(code) != args[1] {
		ts.Fatalf("%s ended with code %d, want %s; it wrote:\n%s", args[0], code, args[1], logOf(p))
	}
	if len(args) == 3 && !strings.Contains(logOf(p), args[2]) {
		ts.Fatalf("%s did not write %q, but:\n%s", args[0], args[2], logOf(p))
	}
}
