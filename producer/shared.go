package producer

import (
	"sync"

	"github.com/ackmark/ackmark/producer/internal/resend"
	"github.com/ackmark/ackmark/producer/internal/unit"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// shared is what the client, its connector, its streams and its detour work on. mu guards what
// stands below it, all parts of it included. It is held while units are encoded and while reports
// are booked, never while something is sent, received or reported. The writer waits on writable.
type shared struct {
	cfg  DialConfig
	name string // random: tells this client from another one with its session's id

	mu         sync.Mutex
	writable   *sync.Cond
	idle       bool // the writer waits on writable
	life       life
	books      books    // units that were taken
	reports    reports  // what Reporters are told
	link       link     // the stream, or why there is none
	session    session  // what the sidecar knows
	releases   releases // asked of the sidecar
	inherits   inherits // asked of the sidecar
	fall       fallback
	tellers    tellers
	committing bool // the sidecar commits offsets, see Committer
	onFenced   fences
	onRefused  []func(*Error)
}

func newShared(cfg DialConfig) *shared {
	c := &shared{cfg: cfg, name: randomName(12), session: session{id: cfg.SessionID}, link: newLink()}
	c.writable = sync.NewCond(&c.mu)
	c.fall.mode = cfg.Fallback.Mode
	c.reports = reports{mu: &c.mu, wake: make(chan struct{}, 1)}
	own := unit.Cost{Bytes: cfg.MaxBufferedBytes, Records: cfg.MaxBufferedRecords}
	c.books = books{own: own, limit: own, tell: c.reports.add}
	c.books.queue = resend.New(resend.NewPool(max(cfg.MaxFrameBytes, 1)), c.reports.add)
	return c
}

// control queues a message for the writer of a stream, before any unit that is not sent yet. The
// caller holds mu.
func (c *shared) control(s *stream, m ...*sidecarpb.DeliveryStreamRequest) {
	s.controls = append(s.controls, m...)
	c.writable.Broadcast()
}

// wakeWriter lets the writer look for units. The caller holds mu.
func (c *shared) wakeWriter() {
	if c.idle {
		c.writable.Signal()
	}
}

// serveLine has the first call that waits look whether there is space; when there will be none any
// more, all of them. The caller holds mu.
func (c *shared) serveLine() {
	if c.life.takesMore() {
		c.books.line.wakeFirst()
	} else {
		c.books.line.wakeAll()
	}
}

// afterReports lets go on who waits for what the reports gave back. The caller holds mu.
func (c *shared) afterReports() {
	c.reports.notify()
	c.serveLine()
	c.wakeWriter() // credit came back
}

// lost is called when the session cannot go on: what the sidecar had of released epochs will never
// be reported. The caller holds mu.
func (c *shared) lost() {
	c.session.resumes = false
	c.letGo()
}

// letGo ends the wait for what the sidecar had of released epochs: it forgets these units, and they
// are not sent again. The caller holds mu.
func (c *shared) letGo() {
	c.releases.answerAll()
	c.books.queue.FailWhere(0, c.books.notLive)
	c.afterReports()
}

// link is the connection to the sidecar. The client's lock guards it.
type link struct {
	stream   *stream // nil: not connected
	lastErr  error   // why the last attempt failed
	attempts int
	opened   uint64 // streams, and attempts that failed: for metrics
	failed   uint64
	changed  chan struct{} // closed and replaced when the stream, the way to Kafka or the life changes
	retry    chan struct{} // capacity 1: try to connect now
}

func newLink() link { return link{changed: make(chan struct{}), retry: make(chan struct{}, 1)} }

// announce wakes those who wait for a change.
func (l *link) announce() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// retryNow cuts the wait for the next attempt short.
func (l *link) retryNow() {
	select {
	case l.retry <- struct{}{}:
	default:
	}
}
