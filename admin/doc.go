// Package admin serves what one looks at when something runs: metrics, probes, the state as JSON,
// and a page that shows it live.
//
// It is read only, and made for a port of its own on loopback:
//
//	lis, err := net.Listen("tcp", "127.0.0.1:9404")
//	…
//	go admin.Serve(ctx, lis, admin.Handler(admin.Config{Source: p, Metrics: promhttp.Handler()}), nil)
//
// A [Handler] may also be mounted in a server that there is already: it answers these paths.
//
//	/             the page
//	/api/status   the state, as JSON
//	/api/events   the same again and again, as server-sent events
//	/healthz      200: the process answers. It never depends on Kafka
//	/readyz       200, or 503 with the partitions that have input and stand still
//	/metrics      Config.Metrics
//	/debug/pprof/ profiles, with Config.Profiles
//
// Whoever may connect sees names of topics, groups and apps, offsets and errors, and no payload,
// key or secret. Requests under a name that is not the server's, or from a page of another site,
// are refused.
package admin
