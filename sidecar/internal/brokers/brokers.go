package brokers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/clusterid"
	"github.com/ackmark/ackmark/internal/lastwill"
)

const (
	checkTimeout = 3 * time.Second
	checkEvery   = 5 * time.Second // while Kafka answers
	recheckEvery = time.Second     // while it does not
)

// Brokers are the cluster's, as the sidecar's client meets them.
type Brokers struct {
	addrs  []string
	client *kgo.Client

	connections     atomic.Int64
	produceRequests atomic.Int64
	connectErrors   sync.Map // host:port → error of the last attempt; absent after a success

	mu   sync.Mutex
	last error
	seen bool
	id   string // of the cluster; "": not known

	once    sync.Once
	checked chan struct{} // closed when the first check has ended
}

var (
	_ kgo.HookBrokerConnect    = (*Brokers)(nil)
	_ kgo.HookBrokerDisconnect = (*Brokers)(nil)
	_ kgo.HookBrokerWrite      = (*Brokers)(nil)
)

// New are those at some addresses. They are hooks of a client, which Use gives them.
func New(addrs []string) *Brokers {
	return &Brokers{addrs: addrs, checked: make(chan struct{})}
}

// Use is called once, before anything else.
func (b *Brokers) Use(client *kgo.Client) { b.client = client }

// Coordinator asks the coordinators of groups for wills, until its life ends.
func (b *Brokers) Coordinator(life context.Context) lastwill.Coordinator {
	return lastwill.On(life, b.client, "ackmark: the sidecar executed this process's will")
}

// firstCheck bounds how long a session's Welcome waits for the first check of Kafka: a client that
// comes before it would not hear which cluster the sidecar delivers to, and could not say in its
// log that there will be no will.
const firstCheck = time.Second

// Await waits until the first check has ended, or for firstCheck.
func (b *Brokers) Await(ctx context.Context) {
	late := time.NewTimer(firstCheck)
	defer late.Stop()
	select {
	case <-b.checked:
	case <-late.C:
	case <-ctx.Done():
	}
}

// ClusterID is the cluster's, "" while it is not known.
func (b *Brokers) ClusterID() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.id
}

func (b *Brokers) learn(id string) {
	if id == "" {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.id = id
}

func (b *Brokers) set(err error) (changed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	changed = !b.seen || (b.last == nil) != (err == nil)
	b.last, b.seen = err, true
	b.once.Do(func() { close(b.checked) })
	return changed
}

// Err is what the last check found.
func (b *Brokers) Err() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.seen {
		return ErrNotChecked
	}
	return b.last
}

// Reachable tells that the last check found nothing.
func (b *Brokers) Reachable() bool { return b.Err() == nil }

// UnreachableError tells that no broker answered, with what was tried.
type UnreachableError struct {
	// Brokers as configured, and what each of them said.
	Brokers []string
	Errs    []error
}

// Error implements error.
func (e *UnreachableError) Error() string {
	parts := make([]string, len(e.Brokers))
	for i, addr := range e.Brokers {
		parts[i] = fmt.Sprintf("%s (%v)", addr, e.Errs[i])
	}
	return "no Kafka broker answers: tried " + strings.Join(parts, ", ") +
		": check the addresses, that the brokers run, and TLS and SASL settings"
}

// Unwrap returns what the brokers said.
func (e *UnreachableError) Unwrap() []error { return e.Errs }

// Check tells whether a broker answers now: nil, or an *UnreachableError that names what was tried.
func (b *Brokers) Check(ctx context.Context) error {
	var answers []error
	for _, seed := range b.client.SeedBrokers() {
		err := b.ask(ctx, seed.Request)
		if err == nil {
			return nil
		}
		answers = append(answers, err)
	}
	// The seeds may be gone after a move of the cluster, and the brokers that they told us of be
	// well.
	if err := b.ask(ctx, b.client.Request); err == nil {
		return nil
	}
	return b.unreachable(answers)
}

// unreachable names what each configured broker said when it was last connected to. kgo's seeds do
// not tell their addresses.
func (b *Brokers) unreachable(answers []error) error {
	e := &UnreachableError{Brokers: b.addrs}
	for i, addr := range b.addrs {
		err := b.connectError(addr)
		if err == nil && i < len(answers) {
			err = answers[i]
		}
		e.Errs = append(e.Errs, err)
	}
	return e
}

func (b *Brokers) ask(ctx context.Context, request func(context.Context, kmsg.Request) (kmsg.Response, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, checkTimeout, fmt.Errorf("no answer within %s", checkTimeout))
	defer cancel()
	id, err := clusterid.Of(ctx, request)
	b.learn(id)
	if err != nil && errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// ErrNotChecked is Err before the first check has ended.
var ErrNotChecked = errors.New("not checked yet")

// Watch checks until the context ends, and tells after each check what it found. It asks nothing
// while acknowledgements come in.
func (b *Brokers) Watch(ctx context.Context, acked func() uint64, told func(err error, changed bool)) {
	var before uint64
	for {
		var err error
		if now := acked(); now == before || !b.Reachable() {
			err = b.Check(ctx)
		} else {
			before = now
		}
		if ctx.Err() != nil {
			return
		}
		told(err, b.set(err))
		pause := checkEvery
		if err != nil {
			pause = recheckEvery
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// Connections is how many there are now.
func (b *Brokers) Connections() uint32 { return uint32(max(b.connections.Load(), 0)) }

// ProduceRequests is how many were sent.
func (b *Brokers) ProduceRequests() uint64 { return uint64(b.produceRequests.Load()) }
