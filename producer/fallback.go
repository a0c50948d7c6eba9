package producer

import (
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

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

// Switcher is implemented by the sidecar client: it switches the fallback at run time.
type Switcher interface {
	// SetFallback changes the mode and returns at once; the switch follows when it is safe. Modes
	// other than [Off] need FallbackConfig.Direct.
	SetFallback(FallbackMode) error
	// FallbackStats tells how much went which way.
	FallbackStats() FallbackStats
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
	switch {
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

// fallback is the client's state of it. The client's mu guards it.
type fallback struct {
	mode    FallbackMode
	breaker breaker
	broken  *Error // the Kafka client cannot be made: configuration
	way     *way   // not nil: units go directly
	began   time.Time
	// heldBack is why a switch waits, as it was logged last.
	heldBack string

	expiry  uint64 // boot-time clock: what was sent in this session with an expiry is expired then
	eternal uint64 // numbers below it were sent in this session without one

	since          time.Time
	switches       uint64
	spent          time.Duration // in former stays
	records        uint64
	sidecarRecords uint64
}

// SetFallback implements [Switcher].
func (c *client) SetFallback(mode FallbackMode) error {
	if err := c.cfg.Fallback.allows(mode); err != nil {
		return invalidConfig(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return errClosed()
	}
	if mode == c.fall.mode {
		return nil
	}
	c.cfg.Logger.Info("fallback mode changed", "target", c.cfg.Target, "from", c.fall.mode.String(), "to", mode.String())
	c.fall.mode = mode
	if mode == Forced && c.stream != nil {
		c.stream.depart()
	}
	c.announce()
	select {
	case c.retry <- struct{}{}:
	default:
	}
	return nil
}

// FallbackStats implements [Switcher].
func (c *client) FallbackStats() FallbackStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := &c.fall
	s := FallbackStats{Mode: f.mode, Active: f.way != nil, Switches: f.switches, Time: f.spent, Records: f.records, SidecarRecords: f.sidecarRecords}
	if !f.began.IsZero() {
		s.Running = time.Since(f.began)
	}
	if s.Active {
		s.Since = f.since
		s.Time += time.Since(f.since)
	}
	return s
}

// expiresAt returns when units that are sent now expire, on the boot-time clock; 0: never. The
// caller holds mu.
func (c *client) expiresAt(f *frame) uint64 {
	if c.fall.mode != Off {
		if now := c.cfg.boot(); now != 0 {
			c.fall.expiry = now + uint64(c.cfg.Fallback.UnitTTL)
			return c.fall.expiry
		}
	}
	c.fall.eternal = f.end()
	return 0
}

// heldBack tells whether the sidecar may still begin with something that was sent, and if so why.
// It is called without a stream, mu held.
func (c *client) heldBack() (why string, held bool) {
	if c.session.gone {
		return "", false
	}
	open := c.win.unreported()
	switch {
	case len(open) == 0:
		return "", false
	case open[0].First < c.fall.eternal:
		return "units were sent while fallback was off, they never expire: waiting for the sidecar to report them or to be gone", true
	case c.cfg.boot() <= c.fall.expiry:
		return "waiting until units that were sent to the sidecar have expired", true
	}
	return "", false
}

// directWay returns a started direct producer without limits of its own: the window has them.
func (c *client) directWay() (*direct, error) {
	cfg := c.cfg.Fallback.Direct
	cfg.MaxBufferedBytes, cfg.MaxBufferedRecords, cfg.OnFull = noLimit, noLimit, Block
	cfg.CloseTimeout = 1 // when it is closed, everything is reported, or Close has waited already
	// A linger waits for more records; here whole frames come.
	cfg.Options = append([]kgo.Opt{kgo.ProducerLinger(0)}, cfg.Options...)
	d, ok := Direct(cfg).(*direct)
	if !ok {
		return nil, errors.New("producer: Direct is not the direct producer")
	}
	if _, err := d.start(); err != nil {
		return nil, err
	}
	return d, nil
}

// noLimit is more than a process can hold.
const noLimit = 1 << 50
