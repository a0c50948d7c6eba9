package telemetry

// What every process tells of itself, by package exporter.
var (
	Uptime = &Metric{
		Name: "ackmark.process.uptime", Unit: "s", Kind: Gauge,
		Help: "Time since the process began.",
	}
	Stale = &Metric{
		Name: "ackmark.credentials.stale", Unit: "{file}", Kind: Gauge,
		Help: "TLS files, secrets and tokens that cannot be read or renewed: what was there before is in force while it lasts.",
	}
)

var ofProcess = []*Metric{Uptime, Stale}
