package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/podstate"
)

// ErrAllHalted is in the error of Check when every partition held stands still: the process lives,
// and reads nothing.
var ErrAllHalted = errors.New("pipeline: all partitions held have halted: nothing is read any more")

// halts are the partitions that stand still, for the end of Run: the consumer knows no more then.
type halts struct {
	mu   sync.Mutex
	run  context.Context // of the pipeline: what stands still when it ends stays in the list
	list []*consumer.HaltError
}

func (h *halts) begin(run context.Context) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.run = run
}

func (h *halts) add(e *consumer.HaltError) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.list = append(h.remove(e.Topic, e.Partition), e)
}

func (h *halts) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.list)
}

// forget takes partitions off that left, or came anew.
func (h *halts) forget(assignments []*consumer.Assignment) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.run != nil && h.run.Err() != nil {
		return
	}
	for _, a := range assignments {
		h.list = h.remove(a.Topic, a.Partition)
	}
}

func (h *halts) remove(topic string, partition int32) []*consumer.HaltError {
	return slices.DeleteFunc(h.list, func(e *consumer.HaltError) bool { return e.Topic == topic && e.Partition == partition })
}

// err joins what stands still, in order, apart from what is in said.
func (h *halts) err(said error) error {
	h.mu.Lock()
	list := slices.Clone(h.list)
	h.mu.Unlock()
	slices.SortFunc(list, func(a, b *consumer.HaltError) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	var errs []error
	for _, e := range list { // not under mu: said may be a handler's error
		if !errors.Is(said, e) {
			errs = append(errs, e)
		}
	}
	return errors.Join(errs...)
}

// halted is told of each partition that halts.
func (p *Pipeline) halted(e *consumer.HaltError) {
	p.halts.add(e)
	p.events.Add(podstate.Halt, e.Topic, e.Partition, e.Error())
	if p.cfg.StopOnHalt {
		p.stopBy(e)
	}
}

func (p *Pipeline) allHalted() error {
	if s := p.State(); s.Halted > 0 && s.Halted == len(s.Consumer.Partitions) {
		return fmt.Errorf("%w (%d)", ErrAllHalted, s.Halted)
	}
	return nil
}

// Resume takes a halted partition up again, without a restart: call it when the cause is gone (the
// topic made, the limit raised, the handler's table filled). It is read on from its first input
// that is not done; those above it that are done are not handed out again. The error is
// consumer.ErrNotHalted, consumer.ErrNotRunning or consumer.ErrClosed. Do not call it from a
// handler: it waits for what the partition's handlers work on, at most Consumer.DrainTimeout.
func (p *Pipeline) Resume(topic string, partition int32) error {
	return p.source.Resume(topic, partition)
}
