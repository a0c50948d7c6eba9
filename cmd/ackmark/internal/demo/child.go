package demo

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/settings"
	"github.com/ackmark/ackmark/internal/childproc"
)

// role is what a child process is.
type role string

const (
	roleSidecar    role = "sidecar"
	rolePipeline   role = "pipeline"
	roleAutoCommit role = "auto-commit"
	// roleExactlyOnce is a pipeline whose sidecar commits in transactions.
	roleExactlyOnce role = "exactly-once"
)

// childSpec is what the parent tells a child to be.
type childSpec struct {
	Role    role              `json:"role"`
	Name    string            `json:"name"`
	Brokers []string          `json:"brokers"`
	Kafka   map[string]string `json:"kafka,omitempty"`
	Socket  string            `json:"socket"`
	Page    string            `json:"page,omitempty"` // host:port at which the sidecar serves it
	// TransactionalID of a sidecar that commits.
	TransactionalID string        `json:"transactional_id,omitempty"`
	Group           string        `json:"group"`
	Input           string        `json:"input"`
	Output          string        `json:"output"`
	Work            time.Duration `json:"work"`
	Workers         int           `json:"workers"`
	MaxRecords      int           `json:"max_records"`
	SessionTimeout  time.Duration `json:"session_timeout"`
	// Large inputs come out cut; Stall and Leak are how the handler begins (see hoarder).
	Large bool `json:"large,omitempty"`
	Stall bool `json:"stall,omitempty"`
	Leak  bool `json:"leak,omitempty"`
}

// heartbeat is the same on both sides.
func (s childSpec) heartbeat() time.Duration { return min(500*time.Millisecond, s.SessionTimeout/5) }

// childStats is what a child tells the parent, five times a second.
type childStats struct {
	// Connections are the open broker connections of the process.
	Connections int64 `json:"connections"`
	// Producing are those of them that belong to a producer.
	Producing int64 `json:"producing"`
	// InFlight are the inputs that it holds: received and not done.
	InFlight int64 `json:"in_flight"`
	// HeldBytes are theirs, decompressed.
	HeldBytes int64 `json:"held_bytes"`
}

// child is the running child process.
type child struct {
	spec     childSpec
	conns    connCounter                                   // of the consumer
	prodConn connCounter                                   // of the producer
	inFlight atomic.Pointer[func() (records, bytes int64)] // nil: the process holds no inputs, or not yet
	hoard    *hoarder
	log      *slog.Logger
}

// RunChild is the main function of a child process. It returns when the parent has asked it to end
// and everything is drained, or when it failed. It ends the process when the parent is gone.
func RunChild(stdin io.Reader, stdout, stderr io.Writer) error {
	c := new(child)
	parent, err := childproc.Attach(stdin, stdout, &c.spec, "ackmark demo")
	if err != nil {
		return err
	}
	c.log = slog.New(slog.NewTextHandler(stderr, nil)).With("process", c.spec.Name)
	c.hoard = newHoarder(c.spec.Stall, c.spec.Leak)
	ctx, stop := parent.Obey(context.Background(), c.hoard.obey)
	defer stop()
	run := map[role]func(context.Context) error{
		roleSidecar: c.runSidecar, rolePipeline: c.runPipeline, roleAutoCommit: c.runAutoCommit, roleExactlyOnce: c.runExactlyOnce,
	}[c.spec.Role]
	if run == nil {
		return fmt.Errorf("demo child: unknown role %q", c.spec.Role)
	}
	go c.report(parent)
	return run(ctx)
}

func (c *child) report(parent *childproc.Parent) {
	for {
		stats := childStats{Connections: c.conns.open.Load() + c.prodConn.open.Load(), Producing: c.prodConn.open.Load()}
		if inFlight := c.inFlight.Load(); inFlight != nil {
			stats.InFlight, stats.HeldBytes = (*inFlight)()
		}
		parent.Tell(stats)
		time.Sleep(200 * time.Millisecond)
	}
}

// kgoOptions are the options that all clients of the child share.
func (c *child) kgoOptions(count *connCounter) ([]kgo.Opt, error) {
	opts, err := settings.KafkaOptions(c.spec.Kafka)
	return append(opts, kgo.ClientID(c.spec.Name), kgo.WithHooks(count)), err
}

// connCounter counts open broker connections by kgo's hooks.
type connCounter struct{ open atomic.Int64 }

// OnBrokerConnect implements kgo.HookBrokerConnect. What failed when it was open is told to
// OnBrokerDisconnect, too.
func (c *connCounter) OnBrokerConnect(_ kgo.BrokerMetadata, _ time.Duration, conn net.Conn, _ error) {
	if conn != nil {
		c.open.Add(1)
	}
}

// OnBrokerDisconnect implements kgo.HookBrokerDisconnect.
func (c *connCounter) OnBrokerDisconnect(kgo.BrokerMetadata, net.Conn) { c.open.Add(-1) }
