// Package storm keeps a log readable while the same line comes again and again: its first lines are
// printed, then one a second, which says how many were not.
package storm

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

const (
	first = 20          // lines of a kind that are printed at once
	pace  = time.Second // of those behind them; after first quiet seconds all is as in the beginning
	kinds = 1000        // of lines that are told apart by what they are about; as many again by message
)

// identity are the fields that tell lines of one message apart.
var identity = []string{"topic", "partition", "app", "group", "setting", "what", "sentinel"}

// kind is a hash of a line's level and message and of what it is about: of one size, whatever names
// stand there.
type kind [sha256.Size]byte

// Handler counts lines of a kind that come too fast for its next handler. Debug lines all go
// through: who asked for them wants each.
type Handler struct {
	next     slog.Handler
	rebuild  func(root slog.Handler) slog.Handler // next, made again from another root
	identity []byte                               // of WithAttrs and WithGroup
	counts   *counts
}

// Counted is that logger, or slog's default, with a handler of this package in front: the same
// where it has one already. Who asked calls [End] when nothing is logged any more.
func Counted(log *slog.Logger) *slog.Logger {
	if log == nil {
		log = slog.Default()
	}
	if _, counted := log.Handler().(*Handler); counted {
		return log
	}
	h := New(log.Handler())
	h.counts.counted = true
	return slog.New(h)
}

// End prints what a logger of [Counted] holds back, and every line from then on. A handler that its
// owner has made is left alone: he closes it.
func End(log *slog.Logger) {
	if h, ok := log.Handler().(*Handler); ok && h.counts.counted {
		h.Close()
	}
}

// counts are those of a handler and of all that come from it.
type counts struct {
	root    slog.Handler
	counted bool // made by Counted

	mu      sync.Mutex
	kinds   map[kind]*state
	cleaned time.Time
	closed  bool
}

// state of a kind. It is as good as none once full is over and nothing is held.
type state struct {
	full  time.Time // when first lines may be printed at once again
	timer *time.Timer
	held  *line // printed next
	more  int   // lines behind held, which are only counted
}

type line struct {
	rebuild func(root slog.Handler) slog.Handler
	record  slog.Record
}

// New returns a handler in front of next.
func New(next slog.Handler) *Handler {
	return &Handler{
		next: next, rebuild: func(root slog.Handler) slog.Handler { return root },
		counts: &counts{root: next, kinds: map[kind]*state{}},
	}
}

// Enabled is slog.Handler's.
func (h *Handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

// Handle is slog.Handler's.
func (h *Handler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelInfo && h.counts.hold(h, r) {
		return nil
	}
	return h.next.Handle(ctx, r)
}

// WithAttrs is slog.Handler's.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	now := make([]slog.Attr, len(attrs))
	said := slices.Clip(h.identity)
	for i, a := range attrs {
		now[i] = fixed(a)
		said = appendIdentity(said, now[i])
	}
	return &Handler{
		next: h.next.WithAttrs(attrs), identity: said, counts: h.counts,
		rebuild: func(root slog.Handler) slog.Handler { return h.rebuild(root).WithAttrs(now) },
	}
}

// WithGroup is slog.Handler's.
func (h *Handler) WithGroup(name string) slog.Handler {
	return &Handler{
		next: h.next.WithGroup(name), identity: appendText(slices.Clip(h.identity), name), counts: h.counts,
		rebuild: func(root slog.Handler) slog.Handler { return h.rebuild(root).WithGroup(name) },
	}
}

// Close prints what is held. Every line is printed from then on.
func (h *Handler) Close() {
	c := h.counts
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, s := range c.kinds {
		c.print(s)
	}
	c.kinds = nil
}

// hold tells whether r is not to be printed now: it is held, or only counted.
func (c *counts) hold(h *Handler, r slog.Record) bool {
	exact, message := kindsOf(h, r)
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.state(exact, message, now)
	switch {
	case s == nil:
		return false
	case s.held != nil:
		s.more++
		return true
	}
	if late := s.full.Add(-(first - 1) * pace).Sub(now); late > 0 {
		s.held = &line{h.rebuild, fixedRecord(r)}
		s.timer = time.AfterFunc(late, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.print(s)
		})
		return true
	}
	s.count(now)
	return false
}

// count one printed line.
func (s *state) count(now time.Time) {
	if s.full.Before(now) {
		s.full = now
	}
	s.full = s.full.Add(pace)
}

// state of a line's kind. Where there are too many, lines of a message share one, whatever they are
// about; nil where there are too many messages: they are printed rather than taken for each other.
func (c *counts) state(exact, message kind, now time.Time) *state {
	if c.closed {
		return nil
	}
	if s := c.kinds[exact]; s != nil {
		return s
	}
	if len(c.kinds) >= kinds && now.Sub(c.cleaned) >= pace {
		c.cleaned = now
		for k, s := range c.kinds {
			if s.held == nil && !s.full.After(now) {
				delete(c.kinds, k)
			}
		}
	}
	k := exact
	if len(c.kinds) >= kinds {
		k = message
	}
	s := c.kinds[k]
	if s == nil && len(c.kinds) < 2*kinds {
		s = &state{full: now}
		c.kinds[k] = s
	}
	return s
}

// print the line that is held, with the number of those behind it. Under the lock: after Close
// nothing is on its way any more.
func (c *counts) print(s *state) {
	if s.held == nil {
		return
	}
	s.timer.Stop()
	root := c.root
	if s.more > 0 {
		root = root.WithAttrs([]slog.Attr{slog.Int("suppressed", s.more)})
	}
	_ = s.held.rebuild(root).Handle(context.Background(), s.held.record) // a log that cannot be written has nobody to tell
	s.held, s.more = nil, 0
	s.count(time.Now())
}

// kindsOf a line: with what it is about, and without.
func kindsOf(h *Handler, r slog.Record) (exact, message kind) {
	text := binary.BigEndian.AppendUint64(nil, uint64(r.Level)) //nolint:gosec // any mapping will do
	text = appendText(text, r.Message)
	message = sha256.Sum256(text)
	text = append(text, h.identity...)
	r.Attrs(func(a slog.Attr) bool {
		text = appendIdentity(text, a)
		return true
	})
	return sha256.Sum256(text), message
}

func appendIdentity(to []byte, a slog.Attr) []byte {
	if !slices.Contains(identity, a.Key) {
		return to
	}
	return appendText(appendText(to, a.Key), a.Value.Resolve().String())
}

// appendText with its length: a and bc are not ab and c.
func appendText(to []byte, text string) []byte {
	return append(binary.BigEndian.AppendUint64(to, uint64(len(text))), text...)
}

// fixedRecord is r with values that nobody changes: it is printed later, by another goroutine.
func fixedRecord(r slog.Record) slog.Record {
	now := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		now.AddAttrs(fixed(a))
		return true
	})
	return now
}

func fixed(a slog.Attr) slog.Attr {
	a.Value = a.Value.Resolve()
	switch a.Value.Kind() {
	case slog.KindGroup:
		members := slices.Clone(a.Value.Group())
		for i := range members {
			members[i] = fixed(members[i])
		}
		a.Value = slog.GroupValue(members...)
	case slog.KindAny:
		switch x := a.Value.Any().(type) {
		case nil:
		case []string:
			a.Value = slog.AnyValue(slices.Clone(x))
		default:
			a.Value = slog.StringValue(fmt.Sprint(x))
		}
	default: // a value that is its own
	}
	return a
}
