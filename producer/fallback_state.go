package producer

import (
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/podstate"
	"github.com/ackmark/ackmark/internal/telemetry"
	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/producer/internal/breaker"
)

// fallback is the client's state of its direct way to Kafka. The client's lock guards it.
type fallback struct {
	mode     FallbackMode
	breaker  breaker.Breaker
	broken   *Error  // the Kafka client cannot be made: configuration
	detour   *detour // not nil: units go directly
	heldBack string  // why a switch waits, as it was logged last
	sent     sentExpiry
	usage    usage
	events   podstate.Events // detours that are over
}

// sentExpiry is what is known of when units expire that were sent in this session.
type sentExpiry struct {
	last          uint64 // boot-time clock: what was sent with an expiry is expired then
	noExpiryBelow uint64 // numbers below it were sent without one
}

// expiresAt returns when units that are sent now expire, those before the number end, on the
// boot-time clock; 0: never.
func (f *fallback) expiresAt(cfg *DialConfig, end uint64) uint64 {
	if f.mode != Off || cfg.routes != nil {
		if now := cfg.boot(); now != 0 {
			f.sent.last = now + uint64(cfg.Fallback.UnitTTL)
			return f.sent.last
		}
	}
	f.sent.noExpiryBelow = end
	return 0
}

// resumed is for a session that goes on, of which numbers from unsent on are sent again.
func (s *sentExpiry) resumed(unsent uint64) { s.noExpiryBelow = min(s.noExpiryBelow, unsent) }

// hasNoExpiry tells whether one of the units that were sent and not reported has no expiry.
func (s *sentExpiry) hasNoExpiry(open []wire.Range) bool {
	return len(open) > 0 && open[0].First < s.noExpiryBelow
}

// heldBack tells whether a sidecar may still begin with something that was sent and not reported,
// and if so why.
func (s *sentExpiry) heldBack(open []wire.Range, now uint64) (why string, held bool) {
	switch {
	case len(open) == 0:
		return "", false
	case s.hasNoExpiry(open):
		return "units were sent while fallback was off, they never expire: waiting for the sidecar to report them or to be gone", true
	case now <= s.last:
		return "waiting until units that were sent to the sidecar have expired", true
	}
	return "", false
}

// usage counts which way units went.
type usage struct {
	since    time.Time     // of the first use; zero: not used yet
	detour   time.Time     // since when they go directly; zero: they do not
	spent    time.Duration // on former detours
	switches uint64
	direct   uint64            // records
	sidecar  uint64            // records
	topics   map[uint32]uint64 // of direct, by topic; the rest are units without outputs
}

// add counts records to a topic that went directly.
func (u *usage) add(topic uint32, records int) {
	if u.topics == nil {
		u.topics = map[uint32]uint64{}
	}
	u.topics[topic] += uint64(records)
}

// byTopic are the records that went directly, of each topic with that number that was written to
// either way, those of the first ones apart; bare are units without outputs.
func (u *usage) byTopic(names []string) (records map[string]uint64, bare uint64) {
	records, bare = make(map[string]uint64, min(len(names), toldApart)), u.direct
	for i, name := range names {
		label := telemetry.Other
		if i < toldApart {
			label = telemetry.TopicName(name)
		}
		n := u.topics[uint32(i)]
		records[label] += n
		bare -= n
	}
	return records, bare
}

// begin notes that a detour began.
func (u *usage) begin(now time.Time) {
	u.detour = now
	u.switches++
}

// end notes that the detour ended, and returns how long it was.
func (u *usage) end(now time.Time) time.Duration {
	spent := now.Sub(u.detour)
	u.detour = time.Time{}
	u.spent += spent
	u.switches++
	return spent
}

func (u *usage) stats(now time.Time) FallbackStats {
	s := FallbackStats{Active: !u.detour.IsZero(), Since: u.detour, Switches: u.switches, Time: u.spent, Records: u.direct, SidecarRecords: u.sidecar}
	if !u.since.IsZero() {
		s.Running = now.Sub(u.since)
	}
	if s.Active {
		s.Time += now.Sub(u.detour)
	}
	return s
}

// ownDirect returns a started direct producer without limits of its own: the queue has them.
func (c *DialConfig) ownDirect() (*direct, error) {
	cfg := c.Fallback.Direct
	cfg.MaxBufferedBytes, cfg.MaxBufferedRecords, cfg.OnFull = noLimit, noLimit, Block
	cfg.MeterProvider = nil // the client counts, and follows its Kafka client
	cfg.CloseTimeout = 1    // when it is closed, everything is reported, or Close has waited already
	// A linger waits for more records; here whole frames come.
	cfg.Options = append([]kgo.Opt{kgo.ProducerLinger(0)}, cfg.Options...)
	d := newDirect(cfg)
	if _, err := d.start(); err != nil {
		return nil, err
	}
	return d, nil
}

// noLimit is more than a process can hold.
const noLimit = 1 << 50
