package e2e

import (
	"bytes"
	"context"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/producer"
)

// roleEnv makes the test binary an app instead of a test. The apps are the uppercase example with settings that it does not offer.
const roleEnv = "ACKMARK_E2E_ROLE"

const (
	// roleApp is the pipeline of the example with a session timeout of 6 s, so that a killed member is replaced within a test's patience.
	roleApp = "app"
	// roleEarliest is the same, reading on from what is there when its offset is out of range.
	roleEarliest = "app-earliest"
)

const appSession = 6 * time.Second

// play runs one of the apps until SIGTERM and returns the exit code.
func play(role string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	brokers := strings.Split(os.Getenv("KAFKA_BROKERS"), ",")
	cfg := pipeline.Config{
		Consumer: consumer.Config{
			Brokers: brokers, Group: os.Getenv("GROUP"), Topics: []string{os.Getenv("INPUT")}, SessionTimeout: appSession,
		},
		Producer: producer.Producer(producer.Dial(os.Getenv("SIDECAR"))),
		Handler: pipeline.HandlerFunc(func(_ context.Context, in *consumer.Message) ([]producer.Record, error) {
			return []producer.Record{{Topic: os.Getenv("OUTPUT"), Key: in.Key, Value: bytes.ToUpper(in.Value)}}, nil
		}),
	}
	if os.Getenv("SIDECAR") == "direct" {
		cfg.Producer = producer.Direct(producer.DirectConfig{Brokers: brokers})
	}
	if role == roleEarliest {
		cfg.Consumer.OnOutOfRange = consumer.Earliest
	}
	if err := pipeline.Run(ctx, cfg); err != nil {
		log.Print(err)
		return 1
	}
	return 0
}
