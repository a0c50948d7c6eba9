package sentinel

import (
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/ackmark/ackmark"
)

// Watch counts what the sentinels of one consumer, pipeline or sidecar find. Its methods may be
// called from any goroutine.
type Watch struct {
	log   *slog.Logger
	begun time.Time
	found [kinds]atomic.Uint64
	said  [kinds]atomic.Int64 // when the last line was written, as nanoseconds since begun; 0: never
}

// NewWatch has found nothing.
func NewWatch(log *slog.Logger) *Watch { return &Watch{log: log, begun: time.Now()} }

// sayEvery is how often a kind is said at most: a fault may break a promise a million times.
const sayEvery = 10 * time.Second

// Found counts one breach, and says so unless it did lately. The arguments are for the log: where
// it was, and the numbers, never a key or a payload.
func (w *Watch) Found(k Kind, args ...any) {
	n := w.found[k].Add(1)
	now, said := int64(time.Since(w.begun))+1, w.said[k].Load()
	if said != 0 && now-said < int64(sayEvery) || !w.said[k].CompareAndSwap(said, now) {
		return
	}
	w.log.Error("a promise is broken: this is a fault of Ackmark; keep the log and report it, docs/operations.md has what to do",
		append([]any{"sentinel", k.String(), "found", n}, args...)...)
}

// Count is how many breaches of a kind were found.
func (w *Watch) Count(k Kind) uint64 { return w.found[k].Load() }

// Counts are those of all kinds.
func (w *Watch) Counts() ackmark.Sentinels {
	return ackmark.Sentinels{
		CommitBeyond: w.Count(CommitBeyond), OrderInverted: w.Count(OrderInverted), InputSkipped: w.Count(InputSkipped), ClosedAdmitted: w.Count(ClosedAdmitted),
	}
}

// everything is set by proofs.
var everything atomic.Bool

// CheckEverything has sentinels look at all of what else they look at a sample of, in the whole
// process: for proofs.
func CheckEverything() { everything.Store(true) }

// Everything tells whether that was asked for.
func Everything() bool { return everything.Load() }
