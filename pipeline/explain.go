package pipeline

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/podstate"
)

// places are where the oldest inputs of partitions are, as of a moment. They are read from the
// lanes when somebody asks; nothing is kept for it while they work.
type places struct {
	oldest   map[uint64]*found // by epoch
	running  map[uint64]int64  // by epoch: the lowest offset in a handler's hands
	troubles map[inputPlace]problem
}

// found is where an input is.
type found struct {
	index   uint64
	stage   podstate.Stage // "": nowhere in the lanes
	lane    int
	behind  int64
	attempt int
	keyHash string
}

// findOldest looks for the oldest input of each partition in the lanes, one lock after the other:
// an input may move on meanwhile, and is then at the later place or nowhere.
func (p *Pipeline) findOldest(parts []consumer.PartitionState, now time.Time) *places {
	w := &places{oldest: make(map[uint64]*found, len(parts)), running: map[uint64]int64{}}
	marks := make(map[uint64]int64, len(parts))
	for i := range parts {
		marks[parts[i].Epoch] = parts[i].AckMark
		if parts[i].Oldest.Offset >= 0 {
			w.oldest[parts[i].Epoch] = &found{index: parts[i].Oldest.Index, lane: -1, behind: -1}
		}
	}
	if p.shared != nil {
		p.shared.mu.Lock()
		w.queued(p.shared.backlog.chunks[p.shared.backlog.head:], -1, nil)
		p.shared.mu.Unlock()
	}
	for i, l := range p.lanes {
		l.mu.Lock()
		w.lane(l, i)
		l.mu.Unlock()
	}
	w.troubles = p.troubles.open(marks)
	for at, x := range w.troubles {
		if x.stage == podstate.Retrying && x.next.After(now) {
			w.holds(at.epoch, at.offset)
		}
	}
	return w
}

// lane looks into a lane, whose lock is held: what a handler works on is not touched, only
// compared.
func (w *places) lane(l *lane, number int) {
	running := l.running
	w.queued(l.backlog.chunks[l.backlog.head:], number, running)
	if l.chunk != nil {
		w.inHand(l.chunk, number, running)
	}
	if f := l.flight; f != nil {
		if at := w.oldest[f.assignment.Epoch]; at != nil {
			for i, m := range f.msgs {
				if m.Index() == at.index {
					at.stage, at.lane, at.attempt, at.keyHash = podstate.Finished, number, max(1, f.attempts[i]), keyHash(m.Key)
				}
			}
		}
	}
	for i := range l.again {
		m := l.again[i].m
		if at := w.oldest[l.again[i].assignment.Epoch]; at != nil && m.Index() == at.index {
			at.stage, at.lane, at.attempt, at.keyHash = podstate.Redelivering, number, l.again[i].attempts, keyHash(m.Key)
		}
	}
	if running == nil {
		return
	}
	epoch := running.Assignment().Epoch
	w.holds(epoch, running.Original().Offset)
	if at := w.oldest[epoch]; at != nil && running.Index() == at.index {
		at.stage, at.lane, at.behind = podstate.Handling, number, -1
	}
}

// holds notes that a handler has an input, or has it again soon.
func (w *places) holds(epoch uint64, offset int64) {
	if low, ok := w.running[epoch]; !ok || offset < low {
		w.running[epoch] = offset
	}
}

// queued looks into chunks that no handler has begun with.
func (w *places) queued(chunks []*chunk, number int, running *consumer.Message) {
	for _, c := range chunks {
		at := w.oldest[c.assignment.Epoch]
		if at == nil {
			continue
		}
		if i, ok := find(c.msgs[c.next:], at.index); ok {
			at.wait(number, running, c.assignment)
			at.keyHash = keyHash(c.msgs[c.next+i].Key)
		}
	}
}

// inHand looks into the chunk that a lane works on: its inputs are a handler's, so that only their
// offsets are compared.
func (w *places) inHand(c *chunk, number int, running *consumer.Message) {
	if at := w.oldest[c.assignment.Epoch]; at != nil && at.stage == "" && running != nil && running.Assignment() == c.assignment && at.index > running.Index() {
		if _, ok := find(c.msgs, at.index); ok {
			at.wait(number, running, c.assignment)
		}
	}
}

func (f *found) wait(number int, running *consumer.Message, a *consumer.Assignment) {
	f.stage, f.lane, f.behind = podstate.Queued, number, -1
	if running != nil && running.Assignment() == a {
		f.behind = running.Original().Offset
	}
}

func find(msgs []*consumer.Message, index uint64) (int, bool) {
	return slices.BinarySearchFunc(msgs, index, func(m *consumer.Message, index uint64) int { return cmp.Compare(m.Index(), index) })
}

// keyHash names a key without saying it.
func keyHash(key []byte) string {
	if key == nil {
		return ""
	}
	sum := sha256.Sum256(key)
	return hex.EncodeToString(sum[:8])
}

// handled is the first offset whose handler has not finished.
func (w *places) handled(s *consumer.PartitionState) int64 {
	first := s.Untaken
	if low, ok := w.running[s.Epoch]; ok {
		first = min(first, low)
	}
	return max(first, s.AckMark)
}

// explain says why a partition's oldest input is not done, and what comes next.
func (p *Pipeline) explain(s *consumer.PartitionState, where *places, now time.Time) *podstate.Oldest {
	o := &podstate.Oldest{Offset: s.Oldest.Offset, Lane: -1, Behind: -1}
	at := where.oldest[s.Epoch]
	if at != nil {
		o.Stage, o.Lane, o.Behind, o.Attempt, o.KeyHash = at.stage, at.lane, at.behind, at.attempt, at.keyHash
	}
	x, troubled := where.troubles[inputPlace{s.Epoch, s.Oldest.Offset}]
	if troubled {
		o.Error, o.Attempt = x.err, x.attempt
	}
	switch {
	case s.Halted != nil:
		o.Stage = podstate.Stopped
	case o.Stage == podstate.Handling:
		if o.Attempt = 1; troubled && x.stage == podstate.Retrying {
			o.Attempt = x.attempt + 1
		}
	case o.Stage != "":
	case !s.Oldest.Started:
		o.Stage = podstate.Queued
	case troubled && (x.stage == podstate.Deciding || x.stage == podstate.Held || x.next.After(now)):
		o.Stage = x.stage
	default:
		o.Stage = podstate.Delivered
	}
	if troubled && x.next.After(now) && (o.Stage == podstate.Retrying || o.Stage == podstate.Redelivering) {
		o.NextAt = x.next.Round(0)
	}
	o.Next = p.next(o)
	return o
}

// next says in words what becomes of an input at its stage.
func (p *Pipeline) next(o *podstate.Oldest) string {
	refused := "its partition halts: there is no dead-letter topic"
	if p.cfg.DeadLetter.Topic != "" {
		refused = "it goes to the dead-letter topic " + p.cfg.DeadLetter.Topic
	}
	attempt := fmt.Sprintf("attempt %d of %d", o.Attempt, p.cfg.MaxAttempts)
	switch o.Stage {
	case podstate.Queued:
		if o.Behind >= 0 {
			return fmt.Sprintf("a handler takes it when its lane is through with offset %d and what lies between", o.Behind)
		}
		return "a handler takes it when its lane comes to it"
	case podstate.Handling:
		if p.cfg.HandlerTimeout <= 0 {
			return attempt + " ends when the handler returns: there is no HandlerTimeout"
		}
		return fmt.Sprintf("%s ends when the handler returns, or is cancelled after %s; after the last one that fails %s", attempt, p.cfg.HandlerTimeout, refused)
	case podstate.Retrying:
		return fmt.Sprintf("the handler is called again, after attempt %d of %d; after the last one that fails %s", o.Attempt, p.cfg.MaxAttempts, refused)
	case podstate.Finished:
		return "its outputs are delivered with those of its lane, within milliseconds; while the producer is full they wait"
	case podstate.Redelivering:
		return "its outputs are delivered again, until they are written"
	case podstate.Deciding:
		return "an output was refused: " + refused
	case podstate.Held:
		return "nothing here: its partition has left this process, which has not heard so from its group yet; who holds it reads the input again"
	case podstate.Stopped:
		return "nothing, until Resume or a restart: mend the cause first"
	}
	if p.cfg.Mode == ExactlyOnce {
		return "it is done when the transaction is committed that has its outputs and its offset; after an abort it is tried again"
	}
	return "it is done when Kafka has acknowledged its outputs"
}
