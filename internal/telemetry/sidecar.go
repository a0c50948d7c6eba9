package telemetry

import "go.opentelemetry.io/otel/attribute"

// What only a sidecar knows.
var (
	Sessions = &Metric{
		Name: "ackmark.sidecar.sessions", Unit: "{session}", Kind: Level,
		Help:       "Sessions of apps, by state: attached, broken, will.",
		Attributes: []attribute.Key{App, State},
	}
	SessionsOpened = &Metric{
		Name: "ackmark.sidecar.sessions.opened", Unit: "{session}", Kind: Counter,
		Help:       "Sessions that began, were resumed on another stream, or were refused because they are fenced.",
		Attributes: []attribute.Key{App, Outcome},
	}
	Wills = &Metric{
		Name: "ackmark.sidecar.wills", Unit: "{will}", Kind: Counter,
		Help:       "Wills by how they ended: complete (nothing repeats), superseded, late, refused (the group is in another cluster), failed; or skipped, and why.",
		Attributes: []attribute.Key{App, Outcome, Reason},
	}
	WillsRunning = &Metric{
		Name: "ackmark.sidecar.wills.running", Unit: "{will}", Kind: Level,
		Help: "Wills that are being executed.",
	}
	WillTime = &Metric{
		Name: "ackmark.sidecar.will.duration", Unit: "s", Kind: Histogram, Buckets: durations,
		Help:       "How long wills took.",
		Attributes: []attribute.Key{Outcome},
	}
	Unfollowed = &Metric{
		Name: "ackmark.sidecar.unfollowed", Unit: "{input}", Kind: Counter,
		Help:       "Inputs that the sidecar had no room to follow, so far were they above their ack marks: until their process has said where it stands, its will lags. In exactly-once they are refused (NO_ROOM).",
		Attributes: []attribute.Key{App},
	}
	Refusals = &Metric{
		Name: "ackmark.sidecar.refusals", Unit: "{refusal}", Kind: Counter,
		Help:       "Apps and users that were not allowed what they asked for; without an app where it is none that the sidecar knows.",
		Attributes: []attribute.Key{App, Reason},
	}
	KafkaReachable = &Metric{
		Name: "ackmark.sidecar.kafka.reachable", Unit: "{cluster}", Kind: Gauge,
		Help: "1 if Kafka answered when it was last looked at.",
	}
	Reloads = &Metric{
		Name: "ackmark.sidecar.reloads", Unit: "{reload}", Kind: Counter,
		Help:       "Times that the configuration was read again, by what became of it: applied, or refused, and then all stayed as it was.",
		Attributes: []attribute.Key{Outcome},
	}
	ReloadRefused = &Metric{
		Name: "ackmark.sidecar.reload.refused", Unit: "{reload}", Kind: Gauge,
		Help: "1 while the configuration that was read last is refused: an earlier one is in force.",
	}
	Letters = &Metric{
		Name: "ackmark.dead_letters", Unit: "{message}", Kind: Counter,
		Help:       "Dead letters that Kafka acknowledged, by the error that their headers name.",
		Attributes: []attribute.Key{Topic, App, ErrorType},
	}
)

var ofSidecar = []*Metric{Sessions, SessionsOpened, Wills, WillsRunning, WillTime, Unfollowed, Refusals, KafkaReachable, Reloads, ReloadRefused, Letters}
