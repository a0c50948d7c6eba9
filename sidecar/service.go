package sidecar

import (
	"github.com/ackmark/ackmark/sidecar/internal/calls"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// service answers the calls of the wire contract, each by the part whose method it is.
type service struct {
	sidecarpb.UnsafeSidecarServer // a call that nothing here answers does not compile

	streams   // DeliveryStream
	emitter   // Emit
	reporter  // Reports
	inspector // Status
}

var _ sidecarpb.SidecarServer = (*service)(nil)

func newService(s *Server) *service {
	return &service{
		streams: streams{
			log: s.log, self: s.self, drain: s.drain, calls: s.calls.Of(calls.Delivery), maxMessageBytes: s.cfg.MaxMessageBytes,
			brokers: s.brokers, sink: s.sink, apps: s.apps, sessions: s.sessions, wills: s.wills,
		},
		emitter:  newEmitter(s),
		reporter: reporter{s.self, s.drain, s.apps},
		inspector: inspector{
			self: s.self, drain: s.drain, limits: credit{s.cfg.MaxBytes, s.cfg.MaxRecords}, apps: s.apps, sink: s.sink,
			brokers: s.brokers, sessions: s.sessions, wills: s.wills,
		},
	}
}
