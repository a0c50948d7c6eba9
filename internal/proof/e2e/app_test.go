package e2e

import (
	"bytes"
	"cmp"
	"context"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/proof/netfault"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/sidecar"
)

// roleEnv makes the test binary an app instead of a test. The apps are the uppercase example with
// settings that it does not offer.
const roleEnv = "ACKMARK_E2E_ROLE"

const (
	// roleApp is the pipeline of the example with a session timeout of 6 s, so that a killed member
	// is replaced within a test's patience.
	roleApp = "app"
	// roleEarliest is the same, reading on from what is there when its offset is out of range.
	roleEarliest = "app-earliest"
	// roleSidecar is a sidecar whose connections to the brokers go through a proxy of the test.
	roleSidecar = "sidecar"
)

// Settings of the roles, beside those of the example.
const (
	envName      = "NAME"           // goes to the header by of each output
	envSession   = "SESSION"        // the session timeout
	envCommit    = "COMMIT_EVERY"   // the commit interval
	envInstance  = "INSTANCE"       // makes a static member
	envSidecar   = "SIDECAR"        // its address, or "direct"
	envSessionID = "SESSION_ID"     // the id of the session with the sidecar
	envProxy     = "PROXY"          // for all connections to the brokers
	envTimes     = "HANDLER_TAKES"  // work for each input
	byHeader     = "by"             // names the process that made an output
	metadataAge  = 10 * time.Second // a proxy must not see many of these requests
)

const appSession = 6 * time.Second

// duration is a setting that is one.
func duration(name string, otherwise time.Duration) time.Duration {
	if d, err := time.ParseDuration(os.Getenv(name)); err == nil {
		return d
	}
	return otherwise
}

// play runs one of the apps until SIGTERM and returns the exit code.
func play(role string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	run := runApp
	if role == roleSidecar {
		run = runSidecar
	}
	if err := run(ctx, role); err != nil {
		log.Print(err)
		return 1
	}
	return 0
}

func kafkaOptions() (opts []kgo.Opt) {
	if proxy := os.Getenv(envProxy); proxy != "" {
		opts = append(opts, kgo.Dialer(netfault.Dial(proxy)), kgo.MetadataMaxAge(metadataAge))
	}
	return opts
}

func runSidecar(ctx context.Context, _ string) error {
	s, err := sidecar.New(sidecar.Config{Brokers: strings.Split(os.Getenv("KAFKA_BROKERS"), ","), Options: kafkaOptions(), Listen: os.Getenv(envSidecar)})
	if err != nil {
		return err
	}
	return s.Run(ctx)
}

func runApp(ctx context.Context, role string) error {
	brokers := strings.Split(os.Getenv("KAFKA_BROKERS"), ",")
	name, work := os.Getenv(envName), duration(envTimes, 0)
	cfg := pipeline.Config{
		Consumer: consumer.Config{
			Brokers: brokers, Group: os.Getenv("GROUP"), Topics: []string{os.Getenv("INPUT")}, Options: kafkaOptions(), InstanceID: os.Getenv(envInstance),
			SessionTimeout: duration(envSession, appSession), CommitEvery: duration(envCommit, 0),
		},
		Producer:      producer.DialConfig{Target: os.Getenv(envSidecar), App: cmp.Or(name, role), SessionID: os.Getenv(envSessionID)}.New(),
		SourceHeaders: true, Concurrency: 4,
		Handler: pipeline.HandlerFunc(func(ctx context.Context, in *consumer.Message) ([]producer.Record, error) {
			select {
			case <-time.After(work):
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
			by := []producer.Header{{Key: byHeader, Value: []byte(name)}}
			return []producer.Record{{Topic: os.Getenv("OUTPUT"), Key: in.Key, Value: bytes.ToUpper(in.Value), Headers: by}}, nil
		}),
	}
	if os.Getenv(envSidecar) == "direct" {
		cfg.Producer = producer.Direct(producer.DirectConfig{Brokers: brokers})
	}
	if role == roleEarliest {
		cfg.Consumer.OnOutOfRange = consumer.ResetEarliest
	}
	return pipeline.Run(ctx, cfg)
}
