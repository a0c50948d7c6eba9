package demo

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// maxCrashes is how often a child may die by itself before the demo gives up.
const maxCrashes = 5

// process keeps one child process alive: whoever dies is started again, as a kubelet does, until
// stop.
type process struct {
	spec    childSpec
	opts    Options
	started func(*exec.Cmd) error // see spawner
	fatal   func(error)           // the child cannot be kept alive
	limit   *limiter              // of its memory; nil: none
	wait    sync.WaitGroup

	mu       sync.Mutex
	cmd      *exec.Cmd // nil: not running
	stdin    io.WriteCloser
	stats    childStats
	log      []string // last lines
	killed   bool     // the next exit is ours
	stopping bool
	restart  *time.Timer
	crashes  int
	atLimit  int           // ends at the limit of its memory
	exited   chan struct{} // closed when the current run has ended
	exitErr  error         // of the run that stop ended
}

const keptLogLines = 20

// start runs the child. It is called under no lock.
func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopping {
		return nil
	}
	cmd := exec.Command(p.opts.Executable, p.opts.ChildArgs...)
	cmd.SysProcAttr = childAttributes()
	unlimited := func() {}
	if p.limit != nil {
		cmd.Env = append(os.Environ(), p.limit.env())
		var err error
		if unlimited, err = p.limit.prepare(cmd); err != nil {
			return fmt.Errorf("limit the memory of %s: %w", p.spec.Name, err)
		}
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := p.started(cmd); err != nil {
		unlimited()
		return fmt.Errorf("start %s: %w", p.spec.Name, err)
	}
	p.cmd, p.stdin, p.killed, p.exited = cmd, stdin, false, make(chan struct{})
	// A child that died already does not read its orders: then Wait tells why.
	_ = json.NewEncoder(stdin).Encode(p.spec)
	var pipes sync.WaitGroup
	pipes.Go(func() { p.readStats(stdout) })
	pipes.Go(func() { p.readLog(stderr) })
	exited := p.exited
	if p.limit != nil {
		p.limit.watch(cmd, exited)
	}
	p.wait.Go(func() {
		pipes.Wait() // before Wait, which closes the pipes
		err := cmd.Wait()
		unlimited()
		p.ended(err, exited)
	})
	return nil
}

func (p *process) readStats(r io.Reader) {
	dec := json.NewDecoder(r)
	for {
		var s childStats
		if dec.Decode(&s) != nil {
			_, _ = io.Copy(io.Discard, r)
			return
		}
		p.mu.Lock()
		p.stats = s
		p.mu.Unlock()
	}
}

func (p *process) readLog(r io.Reader) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if p.opts.Verbose {
			fmt.Fprintln(p.opts.Stderr, lines.Text())
		}
		p.mu.Lock()
		p.log = append(p.log[max(0, len(p.log)+1-keptLogLines):], lines.Text())
		p.mu.Unlock()
	}
	_, _ = io.Copy(io.Discard, r)
}

// ended is called once for each run, after its last output was read.
func (p *process) ended(err error, exited chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer close(exited)
	_ = p.stdin.Close()
	p.cmd, p.stats = nil, childStats{}
	if p.stopping {
		if err != nil && !p.killed {
			p.exitErr = fmt.Errorf("%s ended with %w at SIGTERM: %s", p.spec.Name, err, strings.Join(p.log[max(0, len(p.log)-1):], ""))
		}
		return
	}
	switch {
	case p.killed:
	case p.limit != nil && killedBy(err) == syscall.SIGKILL:
		p.atLimit++
	default:
		p.crashes++
		if p.crashes > maxCrashes {
			p.fatal(fmt.Errorf("%s died %d times by itself, the last time with %w:\n  %s", p.spec.Name, p.crashes, err, strings.Join(p.log, "\n  ")))
			return
		}
	}
	p.restart = time.AfterFunc(restartAfter, func() {
		if err := p.start(); err != nil {
			p.fatal(err)
		}
	})
}

// killedBy is the signal that ended a process, or 0.
func killedBy(err error) syscall.Signal {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return status.Signal()
		}
	}
	return 0
}

// order tells the running child something, and every one that is started after it what it should be
// then.
func (p *process) order(order string, then func(*childSpec)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	then(&p.spec)
	if p.cmd != nil {
		_, _ = fmt.Fprintln(p.stdin, order) // one that has just died does not hear it
	}
}

// deaths tells how often the process died of its memory.
func (p *process) deaths() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.atLimit
}

// kill sends SIGKILL; it tells how many inputs the process held at its last report, and whether it
// was running.
func (p *process) kill() (inFlight int64, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0, false
	}
	p.killed = true
	return p.stats.InFlight, p.cmd.Process.Kill() == nil
}

// terminate sends SIGTERM and waits; after the timeout it kills and returns an error.
func (p *process) terminate(timeout time.Duration) error {
	exited := p.halt(syscall.SIGTERM)
	if exited == nil {
		return nil
	}
	t := time.NewTimer(timeout)
	defer t.Stop()
	select {
	case <-exited:
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.exitErr
	case <-t.C:
		p.destroy()
		return fmt.Errorf("%s did not end within %s of SIGTERM and was killed", p.spec.Name, timeout)
	}
}

// destroy ends the process at once and for good.
func (p *process) destroy() {
	if exited := p.halt(syscall.SIGKILL); exited != nil {
		<-exited
	}
	p.wait.Wait()
}

// halt stops the restarts and signals the running process, if any; the channel closes at its end.
func (p *process) halt(sig syscall.Signal) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopping = true
	if p.restart != nil {
		p.restart.Stop()
	}
	if p.cmd == nil {
		return nil
	}
	p.killed = p.killed || sig == syscall.SIGKILL
	if sig == syscall.SIGTERM && !hasSignals {
		_, _ = fmt.Fprintln(p.stdin, orderEnd)
		return p.exited
	}
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		p.log = append(p.log, err.Error())
	}
	return p.exited
}

// snapshot is the process's state for the view.
func (p *process) snapshot() (s childStats, running bool, crashes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stats, p.cmd != nil, p.crashes
}

func (p *process) lastLog() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.log...)
}
