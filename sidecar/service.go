package sidecar

import (
	"os"

	"github.com/ackmark/ackmark/internal/configerr"
	"github.com/ackmark/ackmark/sidecar/internal/calls"
	"github.com/ackmark/ackmark/sidecar/internal/credits"
	"github.com/ackmark/ackmark/sidecar/internal/routes"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// service answers the calls of the wire contract, each by the part whose method it is.
type service struct {
	sidecarpb.UnsafeSidecarServer // a call that nothing here answers does not compile

	streams  // DeliveryStream
	emitter  // Emit
	reporter // Reports
	statuses // Status
	router   // SetRoute
}

var _ sidecarpb.SidecarServer = (*service)(nil)

func newService(s *Server) *service {
	table := &routes.Table{Apps: s.apps}
	table.Configure(readRoutes(s.cfg.Routes, nil, configerr.For("sidecar.Config"))) // it was judged
	table.Restrict(os.Geteuid(), routeSetters(s.cfg.RouteSetters))
	return &service{
		streams: streams{
			log: s.log, identity: s.identity, drain: s.drain, calls: s.calls.Of(calls.Delivery), maxMessageBytes: s.cfg.MaxMessageBytes,
			brokers: s.brokers, sink: s.sink, apps: s.apps, sessions: s.sessions, wills: s.wills, routes: table, transactions: s.transactions,
		},
		emitter:  newEmitter(s),
		reporter: reporter{s.identity, s.drain, s.apps},
		statuses: statuses{
			identity: s.identity, drain: s.drain, limits: credits.Cost{Bytes: s.cfg.MaxBytes, Records: int64(s.cfg.MaxRecords)}, apps: s.apps, sink: s.sink,
			brokers: s.brokers, sessions: s.sessions, wills: s.wills, routes: table, transactions: s.transactions,
		},
		router: router{table, s.sessions, s.apps, s.log},
	}
}
