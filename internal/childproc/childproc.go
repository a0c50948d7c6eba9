// Package childproc starts child processes that do not outlive this one, however it ends: those of
// `ackmark demo`, `bench` and `chaos`, of the tests, and the brokers of package kafkatest.
//
// A [Process] leads a group of its own: Ctrl-C at a terminal reaches the parent only, which ends
// its children in order, and Kill takes whatever a child has started with it. How a child learns of
// the parent's death:
//
//   - One that is a program of ours has a [Spec.Task]. Its standard input stays open as long as the
//     parent lives, and [Attach] ends it when that closes.
//   - Linux kills every child with its parent (Pdeathsig). It does so when the thread that forked
//     ends, and Go ends threads as it likes: all are started from one thread that lives as long as
//     any child does.
//   - With [Spec.Guard] a small shell, the reaper, holds the read end of a pipe whose only write end
//     is in this process. When this process ends, by SIGKILL too, the reaper reads the end of the
//     file and kills the groups it was told of: also programs that are not ours, on every Unix, and
//     with all that they have started.
package childproc

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
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

	// Task is what the child is to do: one line of JSON on its standard input, which it reads with
	// [Attach]. It goes there, not to the arguments, because Kafka passwords must not show in the
	// process list. Nil: standard input is empty.
	Task any
	// EndOrder is the line on standard input that asks the child to end. Empty: SIGTERM does, and
	// where there is none a line that Attach knows.
	EndOrder string

	// Log is the file that standard error is appended to, and standard output if nobody hears it.
	// Empty: [Process.Tail] has the last lines.
	Log string
	// Hear gets the lines of standard output, one call at a time. It must not wait for the
	// process.
	Hear func(line []byte)
	// Echo gets every line of standard error, too, if there is no Log.
	Echo io.Writer

	// Limit of its memory; nil: none.
	Limit *Limit
	// Guard has the whole group killed by a shell when this process dies. It needs a Unix.
	Guard bool
}

// Process is a running child, leader of its own process group.
type Process struct {
	Spec
	cmd    *exec.Cmd
	done   chan struct{}
	pipes  sync.WaitGroup
	err    error // of the end; after done
	killed atomic.Bool

	stdin sync.Mutex
	input io.WriteCloser // nil: no Task
	task  []byte         // a line

	lines lastLines
}

// gate makes a guarded child wait until the reaper knows it: a parent killed between fork and
// registration would leave the child behind otherwise. The read fails when the other end is closed
// without a line.
const (
	gate      = `read -r _ || exit 125; exec "$@"`
	emptyGate = gate + " </dev/null"
)

// Start starts a process in a group of its own.
func Start(spec Spec) (*Process, error) {
	p, err := start(spec)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Name, err)
	}
	return p, nil
}

func start(spec Spec) (*Process, error) {
	p := &Process{Spec: spec, done: make(chan struct{})}
	if spec.Task != nil {
		task, err := json.Marshal(spec.Task)
		if err != nil {
			return nil, err
		}
		p.task = append(task, '\n')
	}
	p.cmd = exec.Command(spec.Path, spec.Args...)
	if spec.Guard {
		if err := canGuard(); err != nil {
			return nil, err
		}
		script := gate
		if spec.Task == nil {
			script = emptyGate
		}
		p.cmd = exec.Command("/bin/sh", append([]string{"-c", script, "sh", spec.Path}, spec.Args...)...)
	}
	p.cmd.Env, p.cmd.Dir, p.cmd.SysProcAttr = append(os.Environ(), spec.Env...), spec.Dir, ownGroup()
	unlimited, err := spec.Limit.prepare(p.cmd)
	if err != nil {
		return nil, fmt.Errorf("limit its memory: %w", err)
	}
	if err := p.run(); err != nil {
		unlimited()
		return nil, err
	}
	go p.wait(unlimited)
	if err := p.begin(); err != nil {
		p.Kill()
		return nil, err
	}
	return p, nil
}

// run connects the pipes and starts the process.
func (p *Process) run() (err error) {
	if p.Task != nil || p.Guard {
		if p.input, err = p.cmd.StdinPipe(); err != nil {
			return err
		}
	}
	var stdout, stderr io.ReadCloser
	if p.Log != "" {
		log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		defer log.Close()
		p.cmd.Stdout, p.cmd.Stderr = log, log
	} else if stderr, err = p.cmd.StderrPipe(); err != nil {
		return err
	}
	if p.Hear != nil {
		p.cmd.Stdout = nil
		if stdout, err = p.cmd.StdoutPipe(); err != nil {
			return err
		}
	}
	if err := startFromOneThread(p.cmd); err != nil {
		return err
	}
	if stdout != nil {
		p.pipes.Go(func() { eachLine(stdout, p.Hear) })
	}
	if stderr != nil {
		p.pipes.Go(func() { eachLine(stderr, p.said) })
	}
	return nil
}

// begin lets the process go, with its task. One that has died already does not read it: its end
// tells why.
func (p *Process) begin() error {
	p.Limit.watch(p)
	if p.Guard {
		if err := reaper.tell("run %d", p.Pid()); err != nil {
			return err
		}
		p.Say("go")
	}
	switch {
	case p.task != nil:
		p.write(p.task)
	case p.Guard:
		_ = p.input.Close()
	}
	return nil
}

func (p *Process) wait(unlimited func()) {
	p.pipes.Wait() // before Wait, which closes the pipes
	p.err = p.cmd.Wait()
	startedHasEnded()
	unlimited()
	if p.Guard {
		_ = reaper.tell("end %d", p.Pid())
	}
	close(p.done)
}

// Pid is the process id and the id of its group.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended and everything that it wrote was read.
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

// Say writes a line to the standard input of a child with a task. One that has ended does not hear
// it.
func (p *Process) Say(line string) { p.write([]byte(line + "\n")) }

func (p *Process) write(data []byte) {
	p.stdin.Lock()
	defer p.stdin.Unlock()
	_, _ = p.input.Write(data)
}

// Signal sends a signal to the process, not to its group. A process that has ended is left alone.
func (p *Process) Signal(sig syscall.Signal) error {
	if sig == syscall.SIGKILL {
		p.killed.Store(true)
	}
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// Terminate asks the process to end, by its EndOrder or SIGTERM.
func (p *Process) Terminate() error {
	switch {
	case p.EndOrder != "", !hasSignals && p.Task != nil:
		p.Say(cmp.Or(p.EndOrder, orderEnd))
		return nil
	default:
		return p.Signal(syscall.SIGTERM)
	}
}

// Stop asks the process to end, waits, and kills it after the timeout. The error says that this was
// necessary, or how the process failed. What ended by a SIGKILL of ours has not failed.
func (p *Process) Stop(timeout time.Duration) error {
	how := cmp.Or(p.EndOrder, "SIGTERM")
	if err := p.Terminate(); err != nil {
		p.Kill()
		return fmt.Errorf("%s could not be told to end and was killed: %w", p.Name, err)
	}
	t := time.NewTimer(timeout)
	defer t.Stop()
	select {
	case <-p.done:
		if p.err == nil || p.killed.Load() {
			return nil
		}
		return fmt.Errorf("%s ended with %w at %s", p.Name, p.err, how)
	case <-t.C:
		p.Kill()
		return fmt.Errorf("%s did not end within %s of %s and was killed", p.Name, timeout, how)
	}
}

// Kill kills the whole group with SIGKILL and waits for the end. It may be called twice.
func (p *Process) Kill() {
	if p.Running() {
		p.killed.Store(true)
		p.killGroup()
	}
	<-p.done
}

// Wait returns the exit code, -1 after a signal, or the context's cause when it ends first.
func (p *Process) Wait(ctx context.Context) (int, error) {
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode(), nil
	case <-ctx.Done():
		return 0, fmt.Errorf("%s (pid %d) still runs: %w", p.Name, p.Pid(), context.Cause(ctx))
	}
}

// End is how a process ended.
type End struct {
	Err     error // nil: exit code 0
	Killed  bool  // by Kill, or by a SIGKILL of ours
	AtLimit bool  // of its memory
}

// End waits for the end.
func (p *Process) End() End {
	<-p.done
	killed := p.killed.Load()
	return End{Err: p.err, Killed: killed, AtLimit: !killed && p.Limit != nil && EndedBy(p.err) == syscall.SIGKILL}
}

// EndedBy is the signal that ended a process, or 0.
func EndedBy(err error) syscall.Signal {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return status.Signal()
		}
	}
	return 0
}

// State describes how the process ended, or that it runs.
func (p *Process) State() string {
	if p.Running() {
		return fmt.Sprintf("running (pid %d)", p.Pid())
	}
	return p.cmd.ProcessState.String()
}
