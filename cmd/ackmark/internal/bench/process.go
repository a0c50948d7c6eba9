package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// stopTimeout is how long a child may take to end after it was told to.
const stopTimeout = 30 * time.Second

// process is a running child.
type process struct {
	role   string
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	events chan event
	exited chan struct{}
	err    error // of the exit; after exited

	mu  sync.Mutex
	log []string // last lines of its standard error
}

const keptLogLines = 20

// start runs a child. It ends with ctx at the latest, and with this process: its standard input
// closes.
func (o Options) start(ctx context.Context, s spec, env ...string) (*process, error) {
	s.Kafka = o.Kafka
	cmd := exec.CommandContext(ctx, o.Executable, o.ChildArgs...)
	cmd.Env = append(os.Environ(), env...)
	p := &process{role: s.Role, cmd: cmd, events: make(chan event, 16), exited: make(chan struct{})}
	var err error
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", s.Role, err)
	}
	go p.watch(stdout, stderr)
	if err := json.NewEncoder(p.stdin).Encode(s); err != nil {
		p.kill()
		return nil, p.failed(err)
	}
	return p, nil
}

// watch reads what the child says until it ends.
func (p *process) watch(stdout, stderr io.Reader) {
	var pipes sync.WaitGroup
	pipes.Go(func() { p.readEvents(stdout) })
	pipes.Go(func() { p.readLog(stderr) })
	pipes.Wait() // before Wait, which closes the pipes
	p.err = p.cmd.Wait()
	close(p.exited)
}

func (p *process) readEvents(r io.Reader) {
	defer close(p.events)
	for dec := json.NewDecoder(r); ; {
		var e event
		if dec.Decode(&e) != nil {
			_, _ = io.Copy(io.Discard, r)
			return
		}
		p.events <- e
	}
}

func (p *process) readLog(r io.Reader) {
	for lines := bufio.NewScanner(r); lines.Scan(); {
		p.mu.Lock()
		p.log = append(p.log[max(0, len(p.log)+1-keptLogLines):], lines.Text())
		p.mu.Unlock()
	}
	_, _ = io.Copy(io.Discard, r)
}

// await returns the child's next event of this kind.
func (p *process) await(ctx context.Context, kind string) (event, error) {
	for {
		select {
		case e, ok := <-p.events:
			if !ok {
				<-p.exited
				return event{}, p.failed(p.err)
			}
			if e.Kind == kind {
				return e, nil
			}
		case <-ctx.Done():
			return event{}, p.failed(fmt.Errorf("waiting for %q: %w", kind, context.Cause(ctx)))
		}
	}
}

// usage asks the child what it used so far.
func (p *process) usage(ctx context.Context) (Usage, error) {
	if _, err := fmt.Fprintln(p.stdin, commandUsage); err != nil {
		return Usage{}, p.failed(err)
	}
	e, err := p.await(ctx, eventUsage)
	return e.Usage, err
}

// stop ends the child cleanly and tells when it could not.
func (p *process) stop() error {
	_, _ = fmt.Fprintln(p.stdin, commandStop) // it may have ended by itself
	t := time.NewTimer(stopTimeout)
	defer t.Stop()
	for {
		select {
		case _, ok := <-p.events:
			if !ok {
				<-p.exited
				if p.err != nil {
					return p.failed(p.err)
				}
				return nil
			}
		case <-t.C:
			p.kill()
			return p.failed(fmt.Errorf("did not end within %s", stopTimeout))
		}
	}
}

// kill ends the child at once. It may have ended before.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	for range p.events { // or its reader would wait for ever
	}
	<-p.exited
}

// failed adds what the child said to an error.
func (p *process) failed(err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.log) == 0 {
		return fmt.Errorf("bench: the %s process: %w", p.role, err)
	}
	return fmt.Errorf("bench: the %s process: %w\n  %s", p.role, err, strings.Join(p.log, "\n  "))
}
