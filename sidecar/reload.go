package sidecar

import (
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ackmark/ackmark/sidecar/internal/apps"
	"github.com/ackmark/ackmark/sidecar/internal/listen"
)

// Change is a field of a configuration that has another value.
type Change struct{ Field, Before, Now string }

// Reloads tells how reading a configuration again went.
type Reloads struct {
	// Done and Failed are how often it was put in force, and how often it was refused and all
	// stayed as it was.
	Done, Failed uint64
	// At is when it was tried last, zero if never.
	At time.Time
	// Err is why the last try failed, nil if it did not.
	Err error
	// Restart are the fields that differ from those in force and wait for a restart.
	Restart []Change
}

// Reload puts in force what read returns: all of it that can change while the sidecar runs, or, if
// read fails or a field is wrong, nothing. These can change: Apps, Routes, RouteSetters, AppBytes,
// AppRecords, PartitionBytes, PartitionRecords, MaxConnections, AllowUIDs, AllowGIDs, DrainTimeout,
// ReconnectGrace and WillTimeout. Others that differ are in [Reloads.Restart]; Options,
// Partitioner, Listener, TLS, MeterProvider, TracerProvider, Version and Logger are not looked at.
//
// An app that may do less than before, or has another token, begins its sessions anew: what it has
// sent is delivered and reported first, nothing is lost or repeated, and its next Hello is judged
// by the new list. So is a user who may not connect any more. A lower limit ends nothing that is
// there.
func (s *Server) Reload(read func() (Config, error)) (Reloads, error) {
	s.reloads.one.Lock()
	defer s.reloads.one.Unlock()
	cfg, err := read()
	if err == nil {
		err = cfg.Validate()
	}
	if err == nil {
		s.apply(s.reloads.start.with(cfg).WithDefaults())
	}
	return s.reloads.note(s.cfg.differences(cfg.WithDefaults()), err), err
}

// Reloads tells how it went so far.
func (s *Server) Reloads() Reloads {
	s.reloads.mu.Lock()
	defer s.reloads.mu.Unlock()
	return s.reloads.last
}

// with is the configuration with what can change while it is in force from another one.
func (c Config) with(now Config) Config {
	c.Apps, c.Routes, c.RouteSetters, c.AppBytes, c.AppRecords = now.Apps, now.Routes, now.RouteSetters, now.AppBytes, now.AppRecords
	c.PartitionBytes, c.PartitionRecords, c.MaxConnections = now.PartitionBytes, now.PartitionRecords, now.MaxConnections
	c.AllowUIDs, c.AllowGIDs = now.AllowUIDs, now.AllowGIDs
	c.DrainTimeout, c.ReconnectGrace, c.WillTimeout = now.DrainTimeout, now.ReconnectGrace, now.WillTimeout
	return c
}

// differences are those that wait for a restart.
func (c *Config) differences(now Config) (out []Change) {
	for _, field := range []string{
		"Brokers", "Linger", "MaxLinger", "Listen", "SocketMode", "MaxBytes", "MaxRecords", "MaxSessions", "MaxRecordBytes", "MaxMessageBytes", "ReportRing", "StateDir", "StateBytes",
		"MetricsPerTopic", "TransactionalID", "CommitEvery", "TransactionTimeout",
	} {
		was, is := reflect.ValueOf(c).Elem().FieldByName(field).Interface(), reflect.ValueOf(now).FieldByName(field).Interface()
		if !reflect.DeepEqual(was, is) {
			out = append(out, Change{field, fmt.Sprint(was), fmt.Sprint(is)})
		}
	}
	return out
}

// apply cannot fail: what it is given was judged.
func (s *Server) apply(c Config) {
	s.times.set(&c)
	s.sink.topics.Limit(c.PartitionBytes, c.PartitionRecords)
	s.reloads.limit(c.MaxConnections)
	s.calls.Apps(len(c.Apps))
	if s.rules != nil {
		s.rules.Replace(c.AllowUIDs, c.AllowGIDs)
	}
	lost := make(map[*apps.App]bool)
	list := c.apps(s.metrics.flows.App)
	for _, a := range s.apps.Replace(list.List, list.Bytes, list.Records) {
		lost[a] = true
	}
	s.service.router.replace(&c)
	for _, sess := range s.sessions.all() { // who comes now looks at the list's generation when it is in the table
		if lost[sess.app] || sess.from().WhyRefused() != "" {
			sess.startAgain(s.times.drain())
		}
	}
}

// startAgain asks a client to begin its session again; one without a stream when it comes back.
// One that does not come back has its will, which was begun under the old list.
func (s *session) startAgain(within time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.again = within
	s.beginAgain()
}

// beginAgain does what startAgain said, as soon as there is a stream. mu is held.
func (s *session) beginAgain() {
	if s.again > 0 && s.state == stateAttached {
		s.happen(eventDrain)
		s.queue(drainingWithin(s.again))
	}
}

// reloads is what has to do with them.
type reloads struct {
	start Config // as New was given it

	one sync.Mutex // one at a time

	mu       sync.Mutex
	last     Reloads
	listener *listen.Limited // nil before Run
	most     int             // connections
}

func (r *reloads) note(restart []Change, err error) Reloads {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last.At, r.last.Err = time.Now(), err
	if err != nil {
		r.last.Failed++
		return r.last
	}
	r.last.Done++
	r.last.Restart = restart
	return r.last
}

// listenOn is told the listener when there is one.
func (r *reloads) listenOn(l *listen.Limited) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listener = l
	if r.most > 0 {
		l.Most(r.most)
	}
}

func (r *reloads) limit(connections int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.most = connections
	if r.listener != nil {
		r.listener.Most(connections)
	}
}

// times are the settings that say how long something may take.
type times struct{ drains, graces, wills atomic.Int64 }

func newTimes(c *Config) *times {
	t := new(times)
	t.set(c)
	return t
}

func (t *times) set(c *Config) {
	t.drains.Store(int64(c.DrainTimeout))
	t.graces.Store(int64(c.ReconnectGrace))
	t.wills.Store(int64(c.WillTimeout))
}

func (t *times) drain() time.Duration { return time.Duration(t.drains.Load()) }
func (t *times) grace() time.Duration { return time.Duration(t.graces.Load()) }
func (t *times) will() time.Duration  { return time.Duration(t.wills.Load()) }
