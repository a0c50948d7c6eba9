package bench

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ackmark/ackmark/internal/childproc"
)

const (
	// stopTimeout is how long a child may take to end after it was told to.
	stopTimeout  = 30 * time.Second
	keptLogLines = 20
	// maxEvents is more than a child ever has to tell.
	maxEvents = 64
)

// process is a running child.
type process struct {
	*childproc.Process
	events chan event
	unbind func() bool
	scrape *scrape // nil: it has nothing to scrape
}

// start runs a child. It ends with ctx at the latest.
func (o Options) start(ctx context.Context, s spec, env ...string) (*process, error) {
	s.Kafka = o.Kafka
	p := &process{events: make(chan event, maxEvents)}
	var err error
	p.Process, err = childproc.Start(childproc.Spec{
		Name: s.Role, Path: o.Executable, Args: o.ChildArgs, Env: env, Task: s, EndOrder: commandStop, Hear: p.hear,
	})
	if err != nil {
		return nil, err
	}
	p.unbind = context.AfterFunc(ctx, p.Kill)
	if s.Metrics != scraped {
		return p, nil
	}
	at, err := p.await(ctx, eventMetrics)
	if err != nil {
		p.kill()
		return nil, err
	}
	if p.scrape, err = begin(at.Metrics, p.Done(), s.Slice == 0); err != nil {
		p.kill()
		return nil, p.failed(fmt.Errorf("its metrics: %w", err))
	}
	return p, nil
}

func (p *process) hear(line []byte) {
	var e event
	if json.Unmarshal(line, &e) == nil {
		p.events <- e
	}
}

var errNoReason = errors.New("exit code 0")

// await returns the child's next event of this kind.
func (p *process) await(ctx context.Context, kind string) (event, error) {
	for {
		select {
		case e := <-p.events:
			if e.Kind == kind {
				return e, nil
			}
		case <-p.Done():
			if len(p.events) > 0 {
				continue // what it said last
			}
			return event{}, p.failed(fmt.Errorf("it ended before it said %q: %w", kind, cmp.Or(p.End().Err, errNoReason)))
		case <-ctx.Done():
			return event{}, p.failed(fmt.Errorf("waiting for %q: %w", kind, context.Cause(ctx)))
		}
	}
}

// usage asks the child what it used so far.
func (p *process) usage(ctx context.Context) (Usage, error) {
	p.Say(commandUsage)
	e, err := p.await(ctx, eventUsage)
	return e.Usage, err
}

// held asks the child what memory it needs while nothing is done, and has it give the rest back.
func (p *process) held(ctx context.Context) (Held, error) {
	p.Say(commandHeld)
	e, err := p.await(ctx, eventHeld)
	if err != nil || e.Held == nil {
		return Held{}, err
	}
	return *e.Held, nil
}

// stop ends the child cleanly and tells when it could not.
func (p *process) stop() error {
	defer p.unbind()
	if err := p.Stop(stopTimeout); err != nil {
		return p.failed(err)
	}
	if p.scrape != nil {
		p.scrape.asking.Wait()
	}
	return nil
}

// kill ends the child at once. It may have ended before.
func (p *process) kill() {
	p.unbind()
	p.Kill()
}

// failed adds what the child said to an error.
func (p *process) failed(err error) error {
	if log := p.Tail(keptLogLines); len(log) > 0 {
		return fmt.Errorf("bench: the %s process: %w\n  %s", p.Name, err, strings.Join(log, "\n  "))
	}
	return fmt.Errorf("bench: the %s process: %w", p.Name, err)
}
