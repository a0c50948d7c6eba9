package consumer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A partition that the group assigned to us and that cannot be begun (it has no leader, the
// coordinator does not say where the group stands in it) waits, alone: the client holds it paused
// at offset 0, nobody has an assignment of it, and it is looked at again, with backoff, until it
// can be begun. To fail the whole rebalance instead would make the client join again, end all
// other assignments, and meet the same partition again.
type waiting struct {
	mu    sync.Mutex
	parts map[topicPartition]*waiter
	kick  chan struct{}
}

// waiter is one partition that waits.
type waiter struct {
	since, next time.Time
	retry       backoff.BackOff
	err         error
}

const (
	waitingRetry = 10 * time.Second // between looks, at most
	lookTimeout  = 5 * time.Second
)

// errNoOffset: the client left the partition out of its answer, after the coordinator had refused
// to say what is committed.
var errNoOffset = errors.New("the coordinator did not say what the group has committed")

// errResumed: the partition was halted, and was resumed.
var errResumed = errors.New("it was resumed")

// WaitingError tells why a partition that the group assigned to this member is not read yet. The
// others are.
type WaitingError struct {
	Topic     string
	Partition int32
	Since     time.Time
	Err       error
}

func (e *WaitingError) Error() string {
	remedy := ""
	if errors.Is(e.Err, kerr.TopicAuthorizationFailed) {
		remedy = grantRead + ": "
	}
	return fmt.Sprintf("consumer: topic %s partition %d is assigned and not read yet, since %s: %v; %sit is tried again",
		e.Topic, e.Partition, time.Since(e.Since).Round(time.Second), e.Err, remedy)
}

func (e *WaitingError) Unwrap() error { return e.Err }

// add notes why partitions wait, and returns those that did not wait before.
func (w *waiting) add(failed map[topicPartition]error) (fresh []topicPartition) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	for tp, err := range failed {
		h := w.parts[tp]
		if h == nil {
			h = &waiter{since: now, retry: newBackoff(waitingRetry)}
			w.parts[tp] = h
			fresh = append(fresh, tp)
		}
		h.err, h.next = err, now.Add(h.retry.NextBackOff())
	}
	wake(w.kick)
	return fresh
}

// again notes how another look ended, of partitions that still wait.
func (w *waiting) again(failed map[topicPartition]error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for tp, err := range failed {
		if h := w.parts[tp]; h != nil {
			h.err, h.next = err, time.Now().Add(h.retry.NextBackOff())
		}
	}
}

// explain replaces the reason, if the partition waits.
func (w *waiting) explain(tp topicPartition, err error) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	h := w.parts[tp]
	if h != nil {
		h.err = err
	}
	return h != nil
}

func (w *waiting) has(tp topicPartition) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.parts[tp] != nil
}

// drop forgets those of the partitions that wait, and returns them.
func (w *waiting) drop(tps []topicPartition) (dropped []topicPartition) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, tp := range tps {
		if w.parts[tp] != nil {
			delete(w.parts, tp)
			dropped = append(dropped, tp)
		}
	}
	return dropped
}

func (w *waiting) all() []topicPartition {
	due, _ := w.due(time.Now().Add(waitingRetry * 10))
	return due
}

// due lists what is to be looked at by now, and says how long the next one has time.
func (w *waiting) due(now time.Time) (due []topicPartition, pause time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	pause = waitingRetry
	for tp, h := range w.parts {
		if wait := h.next.Sub(now); wait > 0 {
			pause = min(pause, wait)
		} else {
			due = append(due, tp)
		}
	}
	return due, pause
}

// errors lists what waits, by topic and partition.
func (w *waiting) errors() []*WaitingError {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []*WaitingError
	for tp, h := range w.parts {
		all = append(all, &WaitingError{tp.topic, tp.partition, h.since, h.err})
	}
	slices.SortFunc(all, func(a, b *WaitingError) int {
		if c := strings.Compare(a.Topic, b.Topic); c != 0 {
			return c
		}
		return int(a.Partition - b.Partition)
	})
	return all
}

// setAside makes partitions wait. hookMu is held.
func (g *group) setAside(cl *kgo.Client, failed map[topicPartition]error) {
	if len(failed) == 0 {
		return
	}
	for tp := range failed {
		g.owned[tp] = true
	}
	fresh := g.waiting.add(failed)
	cl.PauseFetchPartitions(byTopic(slices.Collect(maps.Keys(failed))))
	for _, tp := range fresh {
		g.log.Warn("a partition cannot be read yet; the others are", "topic", tp.topic, "partition", tp.partition, "err", failed[tp])
	}
}

// noLonger takes partitions that left out of the wait, and their pauses back: the client keeps a
// pause beyond the assignment.
func (g *group) noLonger(cl *kgo.Client, tps []topicPartition) {
	if dropped := g.waiting.drop(tps); len(dropped) > 0 {
		cl.ResumeFetchPartitions(byTopic(dropped))
	}
}

// waitLoop looks after partitions that wait.
func (g *group) waitLoop(ctx context.Context) {
	for {
		due, pause := g.waiting.due(time.Now())
		if len(due) > 0 {
			g.tryBegin(ctx, due)
			continue
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-g.waiting.kick:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// tryBegin looks whether partitions can be begun, without a lock: a look may take its time. Those
// that can are begun.
func (g *group) tryBegin(ctx context.Context, due []topicPartition) {
	look, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	cl := g.brokers.client.Load()
	offsets := unknown(due)
	failed := g.survey.readCommitted(look, cl, offsets, nil)
	topics, err := g.survey.describe(look, offsets, true)
	if err != nil {
		fail(failed, offsets, err)
	}
	_, more := g.survey.startOffsets(look, cl, offsets, topics)
	for tp, err := range more {
		failed[tp] = err
	}
	g.waiting.again(failed)
	due = slices.DeleteFunc(due, func(tp topicPartition) bool { return failed[tp] != nil })
	if len(due) > 0 && ctx.Err() == nil {
		g.beginWaiting(ctx, cl, due)
	}
}

// beginWaiting begins the assignments of partitions that waited, if they are still ours.
func (g *group) beginWaiting(ctx context.Context, cl *kgo.Client, due []topicPartition) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	g.hookMu.Lock()
	defer g.hookMu.Unlock()
	due = slices.DeleteFunc(due, func(tp topicPartition) bool { return !g.waiting.has(tp) || g.parts.find(tp.topic, tp.partition) != nil })
	if len(due) == 0 || g.life.Closing() || g.current.Load() == nil {
		g.waiting.again(failAll(due, ErrNotJoined))
		return
	}
	g.reacquire(ctx, cl, unknown(due))
}

// unknown is what to ask the group about.
func unknown(tps []topicPartition) map[string]map[int32]kgo.Offset {
	names := map[string]map[int32]kgo.Offset{}
	for _, tp := range tps {
		if names[tp.topic] == nil {
			names[tp.topic] = map[int32]kgo.Offset{}
		}
		names[tp.topic][tp.partition] = kgo.NewOffset().At(-1)
	}
	return names
}

func byTopic(tps []topicPartition) map[string][]int32 {
	names := map[string][]int32{}
	for _, tp := range tps {
		names[tp.topic] = append(names[tp.topic], tp.partition)
	}
	return names
}

func failAll(tps []topicPartition, err error) map[topicPartition]error {
	failed := map[topicPartition]error{}
	for _, tp := range tps {
		failed[tp] = err
	}
	return failed
}

// fail moves every partition from offsets to failed.
func fail(failed map[topicPartition]error, offsets map[string]map[int32]kgo.Offset, err error) {
	for topic, ps := range offsets {
		for id := range ps {
			failed[topicPartition{topic, id}] = err
		}
		delete(offsets, topic)
	}
}
