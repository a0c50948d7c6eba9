package sidecar

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// UndeliveredError tells what was left when the drain deadline passed. The inputs of these records
// are not committed: their units were never reported, so the apps send them again. Queued emits
// among them are lost to their callers' knowledge, but were never reported as delivered.
type UndeliveredError struct {
	// Records that Kafka has not acknowledged; some of them may be in Kafka.
	Records int64
	// Queued emits among them.
	Emits int64
	// Topics of the records that wait for Kafka, with their number; those that wait for room in the
	// sidecar are not among them.
	Topics map[string]int64
	// Kafka is why Kafka could not be reached, if that is known.
	Kafka error
}

const maxNamedTopics = 10

// Error implements error.
func (e *UndeliveredError) Error() string {
	text := fmt.Sprintf("sidecar: %d records undelivered at the drain deadline, %d of them emits", e.Records, e.Emits)
	for i, topic := range slices.Sorted(maps.Keys(e.Topics)) {
		if i == maxNamedTopics {
			text += fmt.Sprintf(", and %d more topics", len(e.Topics)-i)
			break
		}
		text += fmt.Sprintf("; %d for topic %q", e.Topics[topic], topic)
	}
	if e.Kafka != nil {
		text += ": " + e.Kafka.Error()
	}
	return text
}

// Unwrap returns the reason, if it is known.
func (e *UndeliveredError) Unwrap() error { return e.Kafka }

// draining is how far a sidecar is with its end.
type draining struct {
	begun atomic.Bool
	over  chan struct{} // closed when every accepted record has its fate, or the deadline passed
}

func newDraining() *draining { return &draining{over: make(chan struct{})} }

// drainAll ends the intake and waits until everything accepted has its fate and its report.
func (s *Server) drainAll(g *grpc.Server) error {
	within := s.times.drain()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	s.log.Info("sidecar draining", "deadline", within, "records", s.sink.outlet.Buffered())
	s.startDraining()
	err := s.deliverAll(ctx)
	close(s.drain.over)
	s.stopGracefully(g)
	if err != nil {
		s.log.Error("sidecar stopped with records undelivered", "err", err)
		return err
	}
	s.log.Info("sidecar drained")
	return nil
}

func (s *Server) startDraining() {
	s.drain.begun.Store(true)
	all := s.sessions.all() // who comes now looks at begun when it is in the table
	s.setHealth(s.brokers.Reachable())
	for _, sess := range all {
		sess.send(drainingWithin(s.times.drain()))
		sess.leave()
	}
	s.sink.pace.Now()
	s.transactions.flush()
}

func drainingWithin(d time.Duration) *sidecarpb.DeliveryStreamResponse {
	return &sidecarpb.DeliveryStreamResponse{Kind: &sidecarpb.DeliveryStreamResponse_Draining{Draining: &sidecarpb.Draining{DeadlineMs: d.Milliseconds()}}}
}

// deliverAll waits for the sessions, which end when all they sent is reported, and then for kgo.
func (s *Server) deliverAll(ctx context.Context) error {
	select {
	case <-s.sessions.none():
	case <-ctx.Done():
	}
	s.flush(ctx)
	return s.undelivered()
}

// flush waits until kgo has nothing left, and no emit is on its way to it.
func (s *Server) flush(ctx context.Context) {
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for s.sink.outlet.Flush(ctx) == nil && s.openEmits() > 0 { // its error is the deadline; what counts is what is left
		select {
		case <-again.C:
		case <-ctx.Done():
			return
		}
	}
}

// openEmits is how many emits were taken and have no fate.
func (s *Server) openEmits() int64 {
	_, n := s.service.emitter.all.Held()
	return n
}

func (s *Server) undelivered() error {
	e := &UndeliveredError{Records: s.sink.outlet.Buffered() + s.transactions.inHand(), Topics: make(map[string]int64), Kafka: public(s.brokers.Err())}
	for _, sess := range s.sessions.all() {
		e.Records += int64(sess.intake.backlog.Load())
	}
	e.Emits = s.openEmits()
	e.Records = max(e.Records, e.Emits) // those that wait for their topic are not kgo's yet
	if e.Records == 0 {
		return nil // only a reader of reports was late
	}
	for _, t := range s.sink.topics.All() {
		for q := range t.Queued() {
			if _, n := q.Held(); n > 0 {
				e.Topics[t.Name] += n
			}
		}
	}
	return e
}

// stopGracefully lets answers that are on their way get out; a health watch or a stuck reader must
// not keep the sidecar.
func (s *Server) stopGracefully(g *grpc.Server) {
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		g.GracefulStop()
	}()
	select {
	case <-stopped:
	case <-time.After(time.Second):
		g.Stop()
		<-stopped
	}
}
