package sidecar

import (
	"context"
	"errors"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/ackmark/ackmark/sidecar/internal/brokers"
)

// Names of the services that the health service knows, beside "".
const (
	ServiceLiveness  = "liveness"
	ServiceReadiness = "readiness"
)

// checked keeps readiness true to Kafka, after each look at it.
func (s *Server) checked(err error, changed bool) {
	if changed {
		s.logKafka(err)
	}
	s.setHealth(s.ready(err))
}

// ready tells whether what comes now would go on to Kafka, if that is what the last look at it
// found.
func (s *Server) ready(kafka error) bool {
	return kafka == nil && !s.service.emitter.all.Over() && !s.sink.pinned.Over() && s.transactions.held() == ""
}

func (s *Server) logKafka(err error) {
	if err = public(err); err != nil {
		s.log.Error("Kafka is not reachable; the sidecar keeps trying, its clients wait", "err", err)
		return
	}
	s.log.Info("Kafka is reachable", "brokers", s.cfg.Brokers)
}

// setHealth: liveness never depends on Kafka (a restart would not help, and all pods would restart
// at once); while draining only it stays.
func (s *Server) setHealth(ready bool) {
	draining := s.drain.begun.Load()
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

// UnreachableError tells that no broker answered, with what was tried.
type UnreachableError struct {
	// Brokers as configured, and what each of them said.
	Brokers []string
	Errs    []error
}

// Error implements error.
func (e *UnreachableError) Error() string {
	return "sidecar: " + (*brokers.UnreachableError)(e).Error()
}

// Unwrap returns what the brokers said.
func (e *UnreachableError) Unwrap() []error { return e.Errs }

// Check tells whether a broker answers now: nil, or an *UnreachableError that names what was tried.
func (s *Server) Check(ctx context.Context) error { return public(s.brokers.Check(ctx)) }

// public is an error of the brokers as users know it.
func public(err error) error {
	if e, ok := errors.AsType[*brokers.UnreachableError](err); ok {
		return (*UnreachableError)(e)
	}
	return err
}
