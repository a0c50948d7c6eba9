package chaos

import (
	"encoding/json"
	"maps"
	"sync"

	"github.com/ackmark/ackmark/internal/childproc"
)

// process is a child, and what it last said of itself.
type process struct {
	*childproc.Process
	mu   sync.Mutex
	last vitals
}

// startProcess runs a child. Its end is the whole group's, also when this process dies while it is
// stopped.
func startProcess(spec childproc.Spec) (p *process, err error) {
	p = new(process)
	spec.Guard, spec.Hear = true, p.hear
	p.Process, err = childproc.Start(spec)
	return p, err
}

func (p *process) hear(line []byte) {
	var v vitals
	if json.Unmarshal(line, &v) != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = v
}

func (p *process) vitals() vitals {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last
}

// processes are those of a row, by name: of a name the last that was started.
type processes struct {
	mu     sync.Mutex
	byName map[string]*process
}

func (ps *processes) set(name string, p *process) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.byName == nil {
		ps.byName = map[string]*process{}
	}
	ps.byName[name] = p
}

func (ps *processes) named(name string) *process {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return ps.byName[name]
}

// all returns a copy: processes come while others are looked at.
func (ps *processes) all() map[string]*process {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return maps.Clone(ps.byName)
}
