package demo

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ackmark/ackmark/internal/childproc"
)

// maxCrashes is how often a child may die by itself before the demo gives up.
const maxCrashes = 5

// keptLogLines of a child are shown when something went wrong.
const keptLogLines = 20

// process keeps one child process alive: whoever dies is started again, as a kubelet does, until
// stop.
type process struct {
	spec  childSpec
	opts  Options
	fatal func(error)      // the child cannot be kept alive
	limit *childproc.Limit // of its memory; nil: none
	wait  sync.WaitGroup

	mu       sync.Mutex
	run      *childproc.Process // the last one
	running  bool
	stats    childStats
	stopping bool
	restart  *time.Timer
	crashes  int
	atLimit  int // ends at the limit of its memory
}

// start runs the child. It is called under no lock.
func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopping {
		return nil
	}
	spec := childproc.Spec{Name: p.spec.Name, Path: p.opts.Executable, Args: p.opts.ChildArgs, Task: p.spec, Hear: p.hear, Limit: p.limit}
	if p.opts.Verbose {
		spec.Echo = p.opts.Stderr
	}
	run, err := childproc.Start(spec)
	if err != nil {
		return err
	}
	p.run, p.running = run, true
	p.wait.Go(func() { p.ended(run.End()) })
	return nil
}

func (p *process) hear(line []byte) {
	var s childStats
	if json.Unmarshal(line, &s) != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stats = s
}

// ended is called once for each run, after its last output was read.
func (p *process) ended(end childproc.End) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running, p.stats = false, childStats{}
	switch {
	case p.stopping:
		return
	case end.Killed:
	case end.AtLimit:
		p.atLimit++
	default:
		p.crashes++
		if p.crashes > maxCrashes {
			p.fatal(fmt.Errorf("%s died %d times by itself, the last time with %w:\n  %s", p.spec.Name, p.crashes, end.Err, strings.Join(p.run.Tail(keptLogLines), "\n  ")))
			return
		}
	}
	p.restart = time.AfterFunc(restartAfter, func() {
		if err := p.start(); err != nil {
			p.fatal(err)
		}
	})
}

// order tells the running child something, and every one that is started after it what it should be
// then.
func (p *process) order(order string, then func(*childSpec)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	then(&p.spec)
	if p.running {
		p.run.Say(order)
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
	if !p.running || !p.run.Running() {
		return 0, false
	}
	return p.stats.InFlight, p.run.Signal(syscall.SIGKILL) == nil
}

// terminate asks the process to end and waits; after the timeout it kills and returns an error.
func (p *process) terminate(timeout time.Duration) error {
	run := p.halt()
	if run == nil {
		return nil
	}
	if err := run.Stop(timeout); err != nil {
		return fmt.Errorf("%w: %s", err, strings.Join(run.Tail(1), ""))
	}
	return nil
}

// destroy ends the process at once and for good.
func (p *process) destroy() {
	if run := p.halt(); run != nil {
		run.Kill()
	}
	p.wait.Wait()
}

// halt stops the restarts, and returns what runs, or nil.
func (p *process) halt() *childproc.Process {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopping = true
	if p.restart != nil {
		p.restart.Stop()
	}
	if !p.running {
		return nil
	}
	return p.run
}

// snapshot is the process's state for the view.
func (p *process) snapshot() (s childStats, running bool, crashes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stats, p.running, p.crashes
}

func (p *process) lastLog() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.run == nil {
		return nil
	}
	return p.run.Tail(keptLogLines)
}
