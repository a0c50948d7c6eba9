package lab

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/ackmark/ackmark/consumer"
)

// years are brokers of each year: what they lack is left out of every request and answer. The
// embedded broker knows no OffsetForLeaderEpoch of clients before 2.3, so that is the oldest. The
// consumer protocol is as promised from 4.1 on.
var years = []struct {
	name     string
	versions *kversion.Versions
	static   bool // LeaveGroup names static members (KIP-345), from 2.4 on
	topicIDs bool // topics have ids (KIP-516), from 2.8 on: without them no done-set is committed
	reasons  bool // who leaves says why (KIP-800), from 3.2 on: how the checker knows a will
	protocol consumer.Protocol
}{
	{"2019, 2.3", kversion.V2_3_0(), false, false, false, consumer.ClassicProtocol},
	{"2020, 2.7", kversion.V2_7_0(), true, false, false, consumer.ClassicProtocol},
	{"2021, 3.0", kversion.V3_0_0(), true, true, false, consumer.ClassicProtocol},
	{"2022, 3.3", kversion.V3_3_0(), true, true, true, consumer.ClassicProtocol},
	{"2023, 3.6", kversion.V3_6_0(), true, true, true, consumer.ClassicProtocol},
	{"2024, 3.9", kversion.V3_9_0(), true, true, true, consumer.ClassicProtocol},
	{"2025, 4.1", kversion.V4_1_0(), true, true, true, consumer.ClassicProtocol},
	{"2026, 4.4", kversion.V4_4_0(), true, true, true, consumer.ClassicProtocol},
	{"2025, 4.1, KIP-848", kversion.V4_1_0(), true, true, true, consumer.ConsumerProtocol},
	{"2026, 4.4, KIP-848", kversion.V4_4_0(), true, true, true, consumer.ConsumerProtocol},
}

// The promises on brokers of each year: an app killed at work loses nothing and is taken over
// within seconds, a static member is back at once, a coordinator that moves changes nothing. With
// topic ids nothing is repeated either, and a topic created anew is read from its start.
func TestBrokersOfEachYear(t *testing.T) {
	for _, y := range years {
		on := func(cfg Config) Config {
			cfg.Broker, cfg.Protocol = append(cfg.Broker, kfake.MaxVersions(y.versions)), y.protocol
			return cfg
		}
		t.Run(y.name, func(t *testing.T) {
			t.Run("killed", func(t *testing.T) {
				cfg := on(Config{Keys: 40, App: sessionOf(longSession), Work: 80 * time.Millisecond, Concurrency: 8})
				if !y.topicIDs { // what is done above the mark is done again: let nothing be
					cfg.Work, cfg.Concurrency = 10*time.Millisecond, 1
				}
				Run(t, cfg, func(l *Lab) {
					killed(l)
					nothingRepeats(l)
					if y.reasons {
						willed(l)
					}
				})
			})
			t.Run("sidecar killed", func(t *testing.T) {
				Run(t, on(Config{Keys: 40}), func(l *Lab) {
					l.StartApp("a")
					l.FeedOver(1000, 10*time.Second)
					l.Sleep(4 * time.Second)
					l.KillSidecar()
					l.Sleep(time.Second)
					l.StartSidecar()
				})
			})
			t.Run("moves", func(t *testing.T) {
				cfg := on(Config{})
				if !y.topicIDs { // at the end there is a rebalance: the same
					cfg.Concurrency = 1
				}
				both(t, cfg, movesAndLoads)
			})
			if y.topicIDs {
				t.Run("created anew", func(t *testing.T) { both(t, on(Config{Handler: holdFirst(0)}), createdAnew) })
			}
			if y.static {
				t.Run("static", func(t *testing.T) {
					Run(t, on(Config{App: sessionOf(longSession)}), func(l *Lab) { restartsAtOnce(l, AppConfig{Instance: "one"}) })
				})
			}
		})
	}
}
