// Package kafkatest starts real Kafka brokers for tests: one or three of them, combined broker and
// controller, on loopback, stopped for certain.
//
// The jars come from Maven once and stay in the user's cache directory. KAFKA_BROKERS makes the
// tests use a cluster of yours. Where neither is possible tests skip and say what to install; with
// ACKMARK_REQUIRE_KAFKA=1 they fail instead, so that CI cannot skip them.
//
//	func TestMain(m *testing.M) { goleak.VerifyTestMain(kafkatest.Main{M: m}) }
//
//	func TestSomething(t *testing.T) {
//		kafka := kafkatest.Shared(t, kafkatest.Config{Brokers: 3})
//		topic := kafka.CreateTopic("orders", 6, nil) // "orders-" and something unique
//		kafka.Kill(kafka.LeaderOf(topic, 0))         // undone when the test ends
//	}
package kafkatest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
)

// Config says which brokers a test needs.
type Config struct {
	// Brokers is their number, 1 (the default) or 3. With three, two must live: they are the
	// controllers too.
	Brokers int
	// Properties are added to each broker's server.properties and win over what is set here by
	// default.
	Properties map[string]string
	// Secured is the protocol of one more listener, beside the open one that the methods of Cluster
	// use: SASL_SSL, SSL or SASL_PLAINTEXT; "": none. What it demands is in Properties, under
	// listener.name.secured.; [Cluster.SecuredAddrs] are its addresses. A cluster of KAFKA_BROKERS
	// has none, and the test skips.
	Secured string
	// Version of Kafka; "": that of KAFKATEST_VERSION, or else [Version].
	Version string
	// HeapMB is the maximum heap of a broker; 0: 384.
	HeapMB int
}

func (c Config) withDefaults() Config {
	if c.Brokers == 0 {
		c.Brokers = 1
	}
	if c.HeapMB == 0 {
		c.HeapMB = 384
	}
	c.Version = cmp.Or(c.Version, os.Getenv(versionEnv), Version)
	return c
}

func (c Config) validate() error {
	if !knownVersion.MatchString(c.Version) {
		return fmt.Errorf("kafkatest: version %q of Kafka: use one like %s, in Config.Version or %s", c.Version, Version, versionEnv)
	}
	if c.Brokers != 1 && c.Brokers != 3 {
		return fmt.Errorf("kafkatest: Config.Brokers is %d: use 1 or 3", c.Brokers)
	}
	return nil
}

// key identifies clusters that tests can share.
func (c Config) key() string {
	return fmt.Sprint(c.Version, " ", c.Brokers, c.HeapMB, c.Secured, c.Properties)
}

// Cluster is a test's view of running brokers. Its methods fail the test when they cannot do what
// they say.
type Cluster struct {
	tb testing.TB
	*cluster
}

const (
	brokersEnv = "KAFKA_BROKERS"
	requireEnv = "ACKMARK_REQUIRE_KAFKA"
	versionEnv = "KAFKATEST_VERSION"
)

// Start starts brokers for this test alone; they end with it.
func Start(tb testing.TB, cfg Config) *Cluster {
	tb.Helper()
	c := open(tb, cfg)
	tb.Cleanup(func() {
		c.failed = c.failed || tb.Failed()
		if logs := c.stop(); logs != "" {
			tb.Log("kafkatest:", strings.TrimSpace(logs))
		}
	})
	return &Cluster{tb, c}
}

var shared struct {
	sync.Mutex
	clusters map[string]*cluster
}

// Shared returns brokers that all tests of the package with an equal Config share: starting them
// takes 7 s. They end with [Main] or [StopShared] in TestMain, or with the test process. Topics and
// groups get unique names; brokers that a test killed or paused are repaired when it ends, so tests
// that do that, and those beside them, must not be parallel.
func Shared(tb testing.TB, cfg Config) *Cluster {
	tb.Helper()
	key := cfg.withDefaults().key()
	shared.Lock()
	defer shared.Unlock()
	c := shared.clusters[key]
	if c == nil {
		c = open(tb, cfg)
		if shared.clusters == nil {
			shared.clusters = map[string]*cluster{}
		}
		shared.clusters[key] = c
	}
	tb.Cleanup(func() {
		if tb.Failed() {
			c.failed = true
			if c.logs != "" {
				tb.Log("kafkatest: broker logs:", c.logs)
			}
		}
	})
	return &Cluster{tb, c}
}

// StopShared stops what Shared started.
func StopShared() {
	shared.Lock()
	defer shared.Unlock()
	for _, c := range shared.clusters {
		if logs := c.stop(); logs != "" {
			fmt.Fprintln(os.Stderr, "kafkatest:", strings.TrimSpace(logs))
		}
	}
	shared.clusters = nil
}

// Main is a package's tests followed by the end of what Shared started: what goleak, or
// os.Exit(kafkatest.Main{M: m}.Run()), takes in TestMain.
type Main struct{ *testing.M }

// Run runs the tests.
func (m Main) Run() int {
	defer StopShared()
	return m.M.Run()
}

func open(tb testing.TB, cfg Config) *cluster {
	tb.Helper()
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		tb.Fatal(err)
	}
	if list := os.Getenv(brokersEnv); list != "" {
		if cfg.Secured != "" {
			tb.Skipf("kafkatest: %s is set, whose listeners are not known", brokersEnv)
		}
		c, err := external(list)
		if err != nil {
			tb.Fatalf("kafkatest: %s=%q: %v", brokersEnv, list, err)
		}
		return c
	}
	if testing.Short() && os.Getenv(requireEnv) != "1" {
		tb.Skip("kafkatest: real brokers are not started with -short")
	}
	c, err := launch(context.Background(), cfg)
	if err != nil {
		unavailable(tb, err)
	}
	return c
}

// unavailable ends the test: it skips what this machine cannot run, unless that is forbidden, and
// fails for everything else.
func unavailable(tb testing.TB, err error) {
	tb.Helper()
	switch required := os.Getenv(requireEnv) == "1"; {
	case errors.Is(err, errMissing) && !required:
		tb.Skip(err)
	case errors.Is(err, errMissing):
		tb.Fatalf("%v (%s=1 makes this a failure)", err, requireEnv)
	default:
		tb.Fatal(err)
	}
}
