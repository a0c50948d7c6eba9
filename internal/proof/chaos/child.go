package chaos

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/metrics"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/childproc"
	"github.com/ackmark/ackmark/internal/proof/netfault"
	"github.com/ackmark/ackmark/internal/proof/verify"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/sidecar"
)

// spec is what a child process is to be.
type spec struct {
	Role    string            `json:"role"` // app or sidecar
	Name    string            `json:"name"`
	Brokers []string          `json:"brokers"`
	Kafka   map[string]string `json:"kafka,omitempty"`
	Proxy   string            `json:"proxy,omitempty"` // to the brokers; "": none
	Socket  string            `json:"socket"`

	Group   string        `json:"group,omitempty"`
	Input   string        `json:"input,omitempty"`
	Output  string        `json:"output,omitempty"`
	Dead    string        `json:"dead,omitempty"`
	Session time.Duration `json:"session,omitempty"`
	// ExactlyOnce is the mode of an app; Transactional is the id of the sidecar.
	ExactlyOnce   bool   `json:"exactly_once,omitempty"`
	Transactional string `json:"transactional,omitempty"`
	// Protocol of the group.
	Protocol consumer.Protocol `json:"protocol,omitempty"`
	Commit   time.Duration     `json:"commit,omitempty"`
	Work     time.Duration     `json:"work,omitempty"`
	Metadata time.Duration     `json:"metadata,omitempty"` // how often to look for new partitions; 0: kgo's default
	Fallback bool              `json:"fallback,omitempty"`
	// Poison makes every so many inputs unfit: by turns a panic, an output that is too large, one
	// to a topic that does not exist.
	Poison uint64 `json:"poison,omitempty"`
	// Hang makes the handler ignore its context for ever, from some input on.
	Hang bool `json:"hang,omitempty"`

	by []byte // the child's own
}

// vitals is what a child tells of itself, ten times a second.
type vitals struct {
	InFlight   int64 `json:"in_flight"` // inputs received and not done
	Since      int64 `json:"since"`     // done since the last commit
	Goroutines int   `json:"goroutines"`
	Heap       int64 `json:"heap"`
	// Live is what the last collection found in use. What a process has resident beside it is what
	// Go keeps for the next peak.
	Live int64 `json:"live"`
	// Superseded wills found that the broker had gone on without their member: it died within a
	// rebalance.
	Superseded uint64 `json:"superseded,omitempty"`
}

// byHeader names the process that made an output: one that is started again is another one.
const byHeader = "by"

func processName(name string, pid int) string { return fmt.Sprintf("%s.%d", name, pid) }

// RunChild is the main function of a child process. It returns when SIGTERM came and everything is
// drained, or when it failed.
func RunChild(stdin io.Reader, stdout, stderr io.Writer, kafka func(map[string]string) ([]kgo.Opt, error)) error {
	var s spec
	parent, err := childproc.Attach(stdin, stdout, &s, "ackmark chaos")
	if err != nil {
		return err
	}
	s.by = []byte(processName(s.Name, os.Getpid()))
	opts, err := kafka(s.Kafka)
	if err != nil {
		return err
	}
	if s.Proxy != "" {
		opts = append(opts, kgo.Dialer(netfault.Dial(s.Proxy)))
	}
	if s.Metadata > 0 {
		opts = append(opts, kgo.MetadataMaxAge(s.Metadata))
	}
	log := slog.New(slog.NewTextHandler(stderr, nil)).With("process", s.Name)
	ctx, stop := parent.Obey(context.Background(), func(string) {})
	defer stop()
	var more atomic.Pointer[func(*vitals)]
	go report(parent, &more)
	go s.profile(os.Getenv(profilesEnv))
	if s.Role == "sidecar" {
		srv, err := sidecar.New(sidecar.Config{Brokers: s.Brokers, Options: opts, Listen: "unix://" + s.Socket, Logger: log, TransactionalID: s.Transactional})
		if err != nil {
			return err
		}
		more.Store(new(func(v *vitals) {
			if st, err := srv.Status(ctx); err == nil {
				v.Superseded = st.GetWills().GetSuperseded()
			}
		}))
		return srv.Run(ctx)
	}
	p, err := pipeline.New(s.pipeline(opts, log))
	if err != nil {
		return err
	}
	more.Store(new(func(v *vitals) { v.InFlight, v.Since = heldBy(p) }))
	return p.Run(ctx)
}

func heldBy(p *pipeline.Pipeline) (inFlight, since int64) {
	for _, part := range p.State().Consumer.Partitions {
		inFlight += int64(part.Pending)
		since += max(0, part.AckMark-part.Committed) + int64(part.DoneAbove)
	}
	return inFlight, since
}

func report(parent *childproc.Parent, more *atomic.Pointer[func(*vitals)]) {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	for {
		var mem runtime.MemStats
		runtime.ReadMemStats(&mem)
		metrics.Read(live)
		v := vitals{Goroutines: runtime.NumGoroutine(), Heap: int64(mem.HeapAlloc), Live: int64(live[0].Value.Uint64())}
		if add := more.Load(); add != nil {
			(*add)(&v)
		}
		parent.Tell(v)
		time.Sleep(100 * time.Millisecond)
	}
}

func (s *spec) pipeline(opts []kgo.Opt, log *slog.Logger) pipeline.Config {
	dial := producer.DialConfig{Target: "unix://" + s.Socket, App: "chaos", Logger: log}
	if s.Fallback {
		dial.Fallback = producer.FallbackConfig{Mode: producer.OnUnavailable, Direct: producer.DirectConfig{Brokers: s.Brokers, Options: opts},
			After: time.Second, UnitTTL: 2 * time.Second, Return: time.Second}
	}
	cfg := pipeline.Config{
		Consumer: consumer.Config{Brokers: s.Brokers, Group: s.Group, Topics: []string{s.Input}, Options: opts, Logger: log,
			SessionTimeout: s.Session, CommitEvery: s.Commit, Protocol: s.Protocol},
		Producer: dial.New(), Logger: log, Concurrency: 8, DeadLetter: pipeline.DeadLetter{Topic: s.Dead},
		Backoff: pipeline.Backoff{Initial: 5 * time.Millisecond, Max: 20 * time.Millisecond}, MaxAttempts: 3,
	}
	if s.ExactlyOnce {
		cfg.Mode = pipeline.ExactlyOnce
	}
	if s.Hang {
		cfg.HandlerTimeout, cfg.HandlerGrace = 2*time.Second, time.Second
	}
	cfg.Handler = pipeline.HandlerFunc(s.handle)
	return cfg
}

// handle upper-cases, as the demo does, and says who did it.
func (s *spec) handle(ctx context.Context, in *consumer.Message) ([]producer.Record, error) {
	if s.Work > 0 {
		t := time.NewTimer(s.Work)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	out := producer.Record{Topic: s.Output, Key: in.Key, Value: bytes.ToUpper(in.Value), Headers: []producer.Header{{Key: byHeader, Value: s.by}}}
	id, err := verify.Parse(in.Value)
	if err != nil {
		return nil, pipeline.Reject(err)
	}
	if s.Hang && id.Global >= hangAt {
		select {}
	}
	if s.Poison == 0 || id.Global%s.Poison != 0 {
		return []producer.Record{out}, nil
	}
	switch id.Global / s.Poison % 3 {
	case 0:
		panic(fmt.Sprintf("chaos: input %d", id.Global))
	case 1:
		out.Value = make([]byte, 8<<20) // noise: what can be compressed might fit
		_, _ = rand.NewChaCha8([32]byte{}).Read(out.Value)
	default:
		out.Topic = s.Output + "-that-does-not-exist"
	}
	return []producer.Record{out}, nil
}

// hangAt is the first input that hangs a handler.
const hangAt = 2500
