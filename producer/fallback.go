package producer

import (
	"errors"
	"fmt"
	"time"

	"github.com/ackmark/ackmark/internal/configerr"
)

// FallbackMode chooses when the sidecar client delivers with a Kafka client of its own.
type FallbackMode int

const (
	// Off never does: without a sidecar, units wait. The default.
	Off FallbackMode = iota
	// OnUnavailable does while the sidecar cannot be reached.
	OnUnavailable
	// Forced always does, and does not connect to the sidecar.
	Forced
)

// String implements fmt.Stringer.
func (m FallbackMode) String() string {
	switch m {
	case Off:
		return "off"
	case OnUnavailable:
		return "on-unavailable"
	case Forced:
		return "forced"
	}
	return fmt.Sprintf("FallbackMode(%d)", int(m))
}

// FallbackConfig configures the direct way to Kafka beside the sidecar. Zero fields mean the
// defaults named.
//
// One process never goes both ways at once. It goes direct when everything that it sent to the
// sidecar is reported, or has expired (the sidecar does not begin with it any more), or nobody
// listens at the sidecar's address; and back when everything that it produced itself is reported.
// Order per key is kept: both ways choose the partition alike, and what is not reported goes first,
// in order. When the sidecar died, or does not answer, what it had begun and not reported is
// written again.
type FallbackConfig struct {
	// Mode is the mode to start with. [Switcher] changes it.
	Mode FallbackMode
	// Direct configures the Kafka client, which is created only when it is needed. Its limits,
	// OnFull and Logger are DialConfig's.
	Direct DirectConfig
	// After is how long the sidecar must have been unavailable. Default 5 s.
	After time.Duration
	// Return is how long the sidecar must have been healthy before the way back. Default 10 s.
	Return time.Duration
	// UnitTTL is how long a unit may be on its way to the sidecar until the sidecar begins with it.
	// It is what a switch waits when the sidecar does not answer. Units are sent with it while Mode
	// is not Off; what was sent before has none, and waits for the sidecar. Default 5 s.
	UnitTTL time.Duration
}

// FallbackStats tells how much went which way since the start.
type FallbackStats struct {
	Mode FallbackMode
	// Active tells that units go to Kafka directly, and Since when that began.
	Active bool
	Since  time.Time
	// Switches counts the ways to Kafka and back.
	Switches uint64
	// Time is how long units went directly, of Running since the first use.
	Time, Running time.Duration
	// Records were reported by the direct way, SidecarRecords by the sidecar; a unit without
	// outputs counts as one.
	Records, SidecarRecords uint64
}

func (f FallbackConfig) withDefaults(c DialConfig) FallbackConfig {
	if f.After == 0 {
		f.After = 5 * time.Second
	}
	if f.Return == 0 {
		f.Return = 10 * time.Second
	}
	if f.UnitTTL == 0 {
		f.UnitTTL = 5 * time.Second
	}
	f.Direct.Logger = c.Logger
	if f.Direct.TracerProvider == nil {
		f.Direct.TracerProvider = c.TracerProvider
	}
	return f
}

func (f FallbackConfig) validate() error {
	wrong := configerr.For(dialConfig)
	wrong.If(f.After < 0, "Fallback.After", f.After, "a duration, or 0 for the default of 5s")
	wrong.If(f.Return < 0, "Fallback.Return", f.Return, "a duration, or 0 for the default of 10s")
	wrong.If(f.UnitTTL < 0, "Fallback.UnitTTL", f.UnitTTL, "a duration, or 0 for the default of 5s")
	wrong.Add(f.allows(f.Mode))
	return wrong.Err()
}

// allows tells whether the mode can be had with this configuration.
func (f FallbackConfig) allows(mode FallbackMode) error {
	wrong := configerr.For(dialConfig)
	wrong.If(f.Direct.TransactionalID != "", "Fallback.Direct.TransactionalID", f.Direct.TransactionalID,
		"a fallback commits no offsets; leave it empty, or use Direct without a sidecar")
	switch {
	case f.Direct.TransactionalID != "":
	case mode == Off:
	case mode != OnUnavailable && mode != Forced:
		wrong.Wrong("Fallback.Mode", mode, "use producer.Off, producer.OnUnavailable or producer.Forced")
	case len(f.Direct.Brokers) == 0 && len(f.Direct.Options) == 0:
		wrong.Missing("Fallback.Direct.Brokers", fmt.Sprintf("mode %q needs at least one host:port", mode))
	default:
		wrong.Add(configerr.Within(dialConfig, "Fallback.Direct", errors.Join(f.Direct.validate(), checkOptions(f.Direct.Options))))
	}
	return wrong.Err()
}
