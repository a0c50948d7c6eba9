package e2e

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/pipeline"
)

// holders follows the output topic while a scenario runs: who works on which input partition, by
// the headers of the outputs, and since when, by the clocks of their brokers. It asks no part of
// Ackmark.
type holders struct {
	s    *scenario
	mu   sync.Mutex
	seen map[int32][]work // by input partition, in about the order of the appends: an input partition's outputs are in several partitions
	stop context.CancelFunc
	done sync.WaitGroup
}

// work is an output.
type work struct {
	by     string
	at     time.Time // by its broker's clock
	seen   time.Time // by the reader
	offset int64     // of its input
}

func (s *scenario) watchHolders(more ...kgo.Opt) *holders {
	s.Helper()
	ctx, stop := context.WithCancel(context.Background())
	h := &holders{s: s, seen: map[int32][]work{}, stop: stop}
	opts := []kgo.Opt{kgo.ConsumeTopics(s.output), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(50 * time.Millisecond)}
	client := s.plain(append(opts, more...)...)
	h.done.Go(func() {
		for ctx.Err() == nil {
			client.PollFetches(ctx).EachRecord(h.add)
		}
	})
	s.Cleanup(func() { stop(); h.done.Wait() })
	return h
}

// awaitWork waits until a process has made so many more outputs than it has by now.
func (h *holders) awaitWork(by string, more int) {
	h.s.Helper()
	begun := h.outputs(by)
	h.s.await(fmt.Sprintf("%d more outputs of %s", more, by), func() error {
		if n := h.outputs(by) - begun; n < more {
			return fmt.Errorf("%d so far", n)
		}
		return nil
	})
}

// outputs counts those that a process has made.
func (h *holders) outputs(by string) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, works := range h.seen {
		for _, w := range works {
			if w.by == by {
				n++
			}
		}
	}
	return n
}

// madeBy reads the headers of an output: the process that made it, and the partition and offset of
// its input.
func madeBy(r *kgo.Record) (by string, partition int32, offset int64) {
	for _, header := range r.Headers {
		switch header.Key {
		case byHeader:
			by = string(header.Value)
		case pipeline.HeaderSource:
			of := strings.Split(string(header.Value), "/")
			p, _ := strconv.ParseInt(of[1], 10, 32)
			offset, _ = strconv.ParseInt(of[2], 10, 64)
			partition = int32(p)
		}
	}
	return by, partition, offset
}

func (h *holders) add(r *kgo.Record) {
	by, partition, offset := madeBy(r)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen[partition] = append(h.seen[partition], work{by: by, at: r.Timestamp, seen: time.Now(), offset: offset})
}

// outOfOrder is how far apart in the list outputs may be that were appended in the other order.
const outOfOrder = 5 * time.Second

// since returns the outputs of a partition that were appended at a time or later.
func (h *holders) since(partition int32, at time.Time) (found []work) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, w := range slices.Backward(h.seen[partition]) {
		if w.at.Before(at.Add(-outOfOrder)) {
			break
		}
		if !w.at.Before(at) {
			found = append(found, w)
		}
	}
	return found
}

// of returns the partitions whose newest outputs are of this process.
func (h *holders) of(by string) (held []int32) {
	for p := range int32(partitions) {
		newest := work{}
		for _, w := range h.since(p, time.Now().Add(-outOfOrder)) {
			if w.at.After(newest.at) {
				newest = w
			}
		}
		if newest.by == by {
			held = append(held, p)
		}
	}
	return held
}

// taken returns when a partition's first output by somebody else than a dead process was appended
// after its death. Brokers tell milliseconds.
func (h *holders) taken(partition int32, from string, died time.Time) (at time.Time, ok bool) {
	for _, w := range h.since(partition, died.Truncate(time.Millisecond)) {
		if w.by != from && (!ok || w.at.Before(at)) {
			at, ok = w.at, true
		}
	}
	return at, ok
}

// awaitTaken waits until each of these partitions has a new holder, and returns how long after the
// death that was.
func (h *holders) awaitTaken(partitions []int32, from string, died time.Time) (took []time.Duration) {
	h.s.Helper()
	for _, p := range partitions {
		h.s.await(fmt.Sprintf("somebody to take partition %d over from %s", p, from), func() error {
			at, ok := h.taken(p, from, died)
			if !ok {
				return fmt.Errorf("nobody since %s", clock(died))
			}
			took = append(took, at.Sub(died))
			return nil
		})
	}
	return took
}
