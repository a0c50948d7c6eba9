package sidecar

import (
	"github.com/ackmark/ackmark/sidecar/internal/calls"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// service answers the calls of the wire contract, each by the part whose method it is.
type service struct {
	sidecarpb.UnsafeSidecarServer // a call that nothing here answers does not compile

	streams  // DeliveryStream
	emitter  // Emit
	reporter // Reports
	statuses // Status
}

var _ sidecarpb.SidecarServer = (*service)(nil)

func newService(s *Server) *service {
	return &service{
		streams: streams{
			log: s.log, identity: s.identity, drain: s.drain, calls: s.calls.Of(calls.Delivery), maxMessageBytes: s.cfg.MaxMessageBytes,
			brokers: s.brokers, sink: s.sink, apps: s.apps, sessions: s.sessions, wills: s.wills,
		},
		emitter:  newEmitter(s),
		reporter: reporter{s.identity, s.drain, s.apps},
		statuses: statuses{
			identity: s.identity, drain: s.drain, limits: credit{s.cfg.MaxBytes, s.cfg.MaxRecords}, apps: s.apps, sink: s.sink,
			brokers: s.brokers, sessions: s.sessions, wills: s.wills,
		},
	}
}
