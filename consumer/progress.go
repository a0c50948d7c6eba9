package consumer

import "github.com/ackmark/ackmark/internal/assignment"

// Progress tells where this assignment is now. It is the Progress that a producer.Assignment asks
// for, and exported for the pipeline, and for whoever delivers units to a sidecar without one.
func (a *Assignment) Progress() assignment.Progress {
	p := a.part
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.core.Progress(!p.around.noDoneSets.Load())
}
