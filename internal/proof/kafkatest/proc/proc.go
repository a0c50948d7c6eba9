// Package proc starts the child processes of tests so that they never outlive the test process,
// however it ends.
//
// Pdeathsig is not enough: Linux sends it when the thread that forked ends, and Go moves goroutines
// between threads. Here a small shell, the reaper, holds the read end of a pipe whose only write
// end is in the test process. When that process ends, by SIGKILL too, the kernel closes the pipe,
// the reaper reads the end of the file and kills the process groups it was told of.
package proc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
)

// Spec says what to start.
type Spec struct {
	// Name is for messages.
	Name string
	// Path is the program.
	Path string
	Args []string
	// Env is added to the environment of this process; of two values for one name the last counts.
	Env []string
	// Dir is the working directory; empty: that of this process.
	Dir string
	// Log is the file that standard output and standard error are appended to. Required: a child
	// that inherited them would keep `go test` waiting.
	Log string
}

// Process is a running child, leader of its own process group.
type Process struct {
	Spec
	cmd  *exec.Cmd
	done chan struct{}
}

// gate makes the child wait until the reaper knows it: a test process killed between fork and
// registration would leave the child behind otherwise. The read fails when the other end is closed
// without a line.
const gate = `read -r _ || exit 125; exec "$@" </dev/null`

// Start starts a process in a group of its own.
func Start(spec Spec) (*Process, error) {
	if err := supported(); err != nil {
		return nil, fmt.Errorf("proc: %s: %w", spec.Name, err)
	}
	if spec.Log == "" {
		return nil, fmt.Errorf("proc: %s: no log file given", spec.Name)
	}
	log, err := os.OpenFile(spec.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("proc: %s: %w", spec.Name, err)
	}
	defer log.Close()
	cmd := exec.Command("/bin/sh", append([]string{"-c", gate, "sh", spec.Path}, spec.Args...)...)
	cmd.Env = append(os.Environ(), spec.Env...)
	cmd.Dir = spec.Dir
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = ownGroup()
	open, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("proc: %s: %w", spec.Name, err)
	}
	defer open.Close()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("proc: %s: %w", spec.Name, err)
	}
	p := &Process{Spec: spec, cmd: cmd, done: make(chan struct{})}
	err = reaper.tell("run %d", cmd.Process.Pid)
	if err == nil {
		_, err = open.Write([]byte("go\n"))
	}
	go p.wait()
	if err != nil {
		p.Kill()
		return nil, fmt.Errorf("proc: %s: %w", spec.Name, err)
	}
	return p, nil
}

func (p *Process) wait() {
	_ = p.cmd.Wait()
	_ = reaper.tell("end %d", p.cmd.Process.Pid)
	close(p.done)
}

// Pid is the process id and the id of its group.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Running tells whether the process has not ended yet.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Signal sends a signal to the process, not to its group. A process that has ended is left alone.
func (p *Process) Signal(sig syscall.Signal) error {
	err := p.cmd.Process.Signal(sig)
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// Kill kills the whole group with SIGKILL and waits for the end. It may be called twice.
func (p *Process) Kill() {
	if p.Running() {
		killGroup(p.Pid())
	}
	<-p.done
}

// Wait returns the exit code, -1 after a signal, or the context's cause when it ends first.
func (p *Process) Wait(ctx context.Context) (int, error) {
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode(), nil
	case <-ctx.Done():
		return 0, fmt.Errorf("proc: %s (pid %d) still runs: %w", p.Name, p.Pid(), context.Cause(ctx))
	}
}

// State describes how the process ended, or that it runs.
func (p *Process) State() string {
	if p.Running() {
		return fmt.Sprintf("running (pid %d)", p.Pid())
	}
	return p.cmd.ProcessState.String()
}

// RemoveAtDeath makes the reaper remove a directory when this process ends without having removed
// it.
func RemoveAtDeath(dir string) error { return reaper.tell("dir %s", dir) }

var reaper reaperProcess

// reaperProcess is the one shell that outlives this process for a moment. It is started on first
// use and never waited for.
type reaperProcess struct {
	mu   sync.Mutex
	pipe *os.File
}

const reaperScript = `
while read -r verb arg; do
	case $verb in
	run) live="$live $arg" ;;
	end) rest=; for p in $live; do [ "$p" = "$arg" ] || rest="$rest $p"; done; live=$rest ;;
	dir) set -- "$@" "$arg" ;;
	esac
done
for p in $live; do kill -s KILL -- "-$p" 2>/dev/null; done
[ $# -gt 0 ] || exit 0
rm -rf "$@" 2>/dev/null && exit 0
sleep 1
rm -rf "$@"
`

func (r *reaperProcess) tell(format string, args ...any) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pipe == nil {
		if err := r.start(); err != nil {
			return fmt.Errorf("reaper: %w", err)
		}
	}
	if _, err := fmt.Fprintf(r.pipe, format+"\n", args...); err != nil {
		return fmt.Errorf("reaper: %w", err)
	}
	return nil
}

func (r *reaperProcess) start() error {
	rd, wr, err := os.Pipe() // both close-on-exec: no other child may hold the write end, or the end of this process would go unseen
	if err != nil {
		return err
	}
	defer rd.Close()
	cmd := exec.Command("/bin/sh", "-c", reaperScript, "ackmark-test-reaper")
	cmd.Stdin = rd
	cmd.Dir = "/"
	cmd.SysProcAttr = ownSession() // a Ctrl-C at the terminal must not reach it
	if err := cmd.Start(); err != nil {
		wr.Close()
		return err
	}
	r.pipe = wr
	return nil
}
