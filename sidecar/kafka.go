package sidecar

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/ackmark/ackmark/internal/clusterid"
)

// Names of the services that the health service knows, beside "".
const (
	ServiceLiveness  = "liveness"
	ServiceReadiness = "readiness"
)

const (
	checkTimeout = 3 * time.Second
	checkEvery   = 5 * time.Second // while Kafka answers
	recheckEvery = time.Second     // while it does not
)

// kafkaState is what the last check found.
type kafkaState struct {
	mu   sync.Mutex
	last error
	seen bool
	id   string // of the cluster; "": not known

	once    sync.Once
	checked chan struct{} // closed when the first check has ended
}

// firstCheck bounds how long a session's Welcome waits for the first check of Kafka: a client that
// comes before it would not hear which cluster the sidecar delivers to, and could not say in its
// log that there will be no will.
const firstCheck = time.Second

// await waits until the first check has ended, or for firstCheck.
func (k *kafkaState) await(ctx context.Context) {
	late := time.NewTimer(firstCheck)
	defer late.Stop()
	select {
	case <-k.checked:
	case <-late.C:
	case <-ctx.Done():
	}
}

func (k *kafkaState) clusterID() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.id
}

func (k *kafkaState) learn(id string) {
	if id == "" {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.id = id
}

func (k *kafkaState) set(err error) (changed bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	changed = !k.seen || (k.last == nil) != (err == nil)
	k.last, k.seen = err, true
	k.once.Do(func() { close(k.checked) })
	return changed
}

func (k *kafkaState) err() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.seen {
		return errNotChecked
	}
	return k.last
}

func (k *kafkaState) reachable() bool { return k.err() == nil }

// UnreachableError tells that no broker answered, with what was tried.
type UnreachableError struct {
	// Brokers as configured, and what each of them said.
	Brokers []string
	Errs    []error
}

// Error implements error.
func (e *UnreachableError) Error() string {
	parts := make([]string, len(e.Brokers))
	for i, b := range e.Brokers {
		parts[i] = fmt.Sprintf("%s (%v)", b, e.Errs[i])
	}
	return "sidecar: no Kafka broker answers: tried " + strings.Join(parts, ", ") +
		": check the addresses, that the brokers run, and TLS and SASL settings"
}

// Unwrap returns what the brokers said.
func (e *UnreachableError) Unwrap() []error { return e.Errs }

// Check tells whether a broker answers now: nil, or an *UnreachableError that names what was tried.
func (s *Server) Check(ctx context.Context) error {
	var answers []error
	for _, b := range s.client.SeedBrokers() {
		err := s.ask(ctx, b.Request)
		if err == nil {
			return nil
		}
		answers = append(answers, err)
	}
	// The seeds may be gone after a move of the cluster, and the brokers that they told us of be
	// well.
	if err := s.ask(ctx, s.client.Request); err == nil {
		return nil
	}
	return s.unreachable(answers)
}

// unreachable names what each configured broker said when it was last connected to. kgo's seeds do
// not tell their addresses.
func (s *Server) unreachable(answers []error) error {
	e := &UnreachableError{Brokers: s.cfg.Brokers}
	for i, addr := range s.cfg.Brokers {
		err := s.hooks.connectError(addr)
		if err == nil && i < len(answers) {
			err = answers[i]
		}
		e.Errs = append(e.Errs, err)
	}
	return e
}

func (s *Server) ask(ctx context.Context, request func(context.Context, kmsg.Request) (kmsg.Response, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, checkTimeout, fmt.Errorf("no answer within %s", checkTimeout))
	defer cancel()
	id, err := clusterid.Of(ctx, request)
	s.kafka.learn(id)
	if err != nil && errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// watchKafka keeps readiness true to Kafka. It asks nothing while acknowledgements come in.
func (s *Server) watchKafka(ctx context.Context) {
	var acked uint64
	for {
		var err error
		if now := s.recordsAcked.Load(); now == acked || !s.kafka.reachable() {
			err = s.Check(ctx)
		} else {
			acked = now
		}
		if ctx.Err() != nil {
			return
		}
		if s.kafka.set(err) {
			s.logKafka(err)
		}
		s.setHealth(err == nil && !s.emits.Over() && !s.pinned.Over())
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

func (s *Server) logKafka(err error) {
	if err != nil {
		s.log.Error("Kafka is not reachable; the sidecar keeps trying, its clients wait", "err", err)
		return
	}
	s.log.Info("Kafka is reachable", "brokers", s.cfg.Brokers)
}

// setHealth: liveness never depends on Kafka (a restart would not help, and all pods would restart
// at once); while draining only it stays.
func (s *Server) setHealth(ready bool) {
	draining := s.draining.Load()
	s.health.SetServingStatus("", serving(!draining))
	s.health.SetServingStatus(ServiceLiveness, healthpb.HealthCheckResponse_SERVING)
	s.health.SetServingStatus(ServiceReadiness, serving(ready && !draining))
}

func serving(yes bool) healthpb.HealthCheckResponse_ServingStatus {
	if yes {
		return healthpb.HealthCheckResponse_SERVING
	}
	return healthpb.HealthCheckResponse_NOT_SERVING
}
