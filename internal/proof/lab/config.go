package lab

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/proof/verify"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/sidecar"
)

// Names in every lab.
const (
	Group      = "lab"
	In         = "in"
	Out        = "out"
	DeadLetter = "dead" // exists with Config.DeadLetter
)

// Defaults of Config.
const (
	DefaultPartitions     = 6
	DefaultKeys           = 40
	DefaultConcurrency    = 4
	DefaultWork           = 3 * time.Millisecond
	DefaultSessionTimeout = 10 * time.Second
	DefaultPatience       = 10 * time.Minute
)

// Config of a lab. The zero value is usable.
type Config struct {
	// Seed of everything random. 0: that of ACKMARK_SEED, or a new one; a failure prints it.
	Seed uint64
	// Protocol of the group. Default: that of ACKMARK_PROTOCOL, or classic.
	Protocol consumer.Protocol
	// Partitions of the input topic, default 6; the output topic has as many. Keys of the inputs,
	// default 40.
	Partitions int32
	Keys       int
	// Direct gives each app a producer of its own: no sidecar.
	Direct bool
	// ExactlyOnce makes all apps exactly-once: in transactions of the sidecar, or, with Direct,
	// each in its own.
	ExactlyOnce bool
	// Groups that read the input, each with outputs of its own. Default 1.
	Groups int
	// Order and Concurrency of the pipelines, default per key and 4 lanes. DeadLetter gives them a
	// dead-letter topic.
	Order       pipeline.Order
	Concurrency int
	DeadLetter  bool
	// Broker adds options of the embedded brokers. App and Sidecar change the configuration of each
	// process as it starts.
	Broker  []kfake.Opt
	App     func(*pipeline.Config)
	Sidecar func(*sidecar.Config)
	// Dial changes the sidecar client of each app.
	Dial func(*producer.DialConfig)
	// Handler makes the outputs, default Upper. Work is how long, in virtual time, an input takes
	// at most before it is called; which input takes how long follows from the seed. Default 3 ms;
	// negative: nothing.
	Handler Handler
	Work    time.Duration
	// Expect and PerInput tell the checker how many outputs inputs have, default 1.
	Expect   func(id uint64) int
	PerInput int

	// AllowViolations leaves it to the caller to look at the Result: nothing fails the test.
	AllowViolations bool
	// Unfinished ends the lab with inputs that are not done, by intent: nobody waits for the end of
	// the input, only what was seen online counts.
	Unfinished bool
	// Patience is how long (virtual time) Idle waits. Default 10 min.
	Patience time.Duration
}

// Result is what a lab found.
type Result struct {
	Seed       uint64
	Violations []verify.Violation
	// Problems are what the checker cannot name: an app that ended by itself, a drain that failed,
	// no progress.
	Problems []string
	Counts   verify.Counts
	Summary  string
	// Virtual is how long the pod lived.
	Virtual time.Duration
}

// Has tells whether a violation of this name was found.
func (r *Result) Has(name verify.Name) bool {
	return slices.ContainsFunc(r.Violations, func(v verify.Violation) bool { return v.Name == name })
}

func (cfg Config) withDefaults() Config {
	if cfg.Seed == 0 {
		cfg.Seed, _ = SeedFromEnv()
	}
	if cfg.Seed == 0 {
		cfg.Seed = rand.Uint64() >> 24
	}
	if cfg.Protocol == 0 {
		cfg.Protocol, _ = ProtocolFromEnv()
	}
	if cfg.Partitions == 0 {
		cfg.Partitions = DefaultPartitions
	}
	if cfg.Groups == 0 {
		cfg.Groups = 1
	}
	if cfg.Keys == 0 {
		cfg.Keys = DefaultKeys
	}
	if cfg.Concurrency == 0 {
		cfg.Concurrency = DefaultConcurrency
	}
	if cfg.Handler == nil {
		cfg.Handler = Upper
	}
	if cfg.Work == 0 {
		cfg.Work = DefaultWork
	}
	if cfg.Patience == 0 {
		cfg.Patience = DefaultPatience
	}
	return cfg
}

// SeedFromEnv returns ACKMARK_SEED, if it is set.
func SeedFromEnv() (uint64, bool) {
	seed, err := strconv.ParseUint(os.Getenv("ACKMARK_SEED"), 10, 64)
	return seed, err == nil
}

// ProtocolFromEnv returns that of ACKMARK_PROTOCOL (classic or consumer): classic, if it is not
// set.
func ProtocolFromEnv() (p consumer.Protocol, set bool) {
	text, set := os.LookupEnv("ACKMARK_PROTOCOL")
	if text == "" {
		return consumer.ClassicProtocol, false
	}
	if err := p.UnmarshalText([]byte(text)); err != nil || p == consumer.AutoProtocol {
		panic(fmt.Sprintf("ACKMARK_PROTOCOL is %q: use classic or consumer", text))
	}
	return p, set
}
