// Command uppercase reads INPUT, writes each value in upper case under the same key to OUTPUT, and
// commits an input only when Kafka has its output.
package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/producer"
)

const usage = `uppercase is configured by environment variables:
  KAFKA_BROKERS  bootstrap brokers, host:port[,host:port …]                                   required
  GROUP          consumer group                                                               required
  INPUT          topic to read                                                                required
  OUTPUT         topic to write                                                               required
  SIDECAR        where the sidecar listens (unix:///run/ackmark/sidecar.sock), or "direct"    required
  WORK           simulated work per message (5ms, 1s …)                                       default 0
  CONCURRENCY    messages worked on at the same time                                          default: one per CPU
  STATE_DIR      directory for what would be committed next, for when this process is killed  default none
  PROTOCOL       classic, consumer (KIP-848, Kafka 4.3 or later) or auto                      default classic
  MODE           at-least-once or exactly-once; the latter needs a sidecar that was started    default at-least-once
                 with a transactional id (ackmark sidecar --transactional-id orders-0)
  TRANSACTIONAL_ID  of this process, the same whenever it is started again (orders-0)         required by exactly-once with SIDECAR=direct
  SOURCE_HEADERS 1: every output says which input it was made from, for ackmark audit         default off
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	cfg, err := configure(os.Getenv)
	if err != nil {
		fmt.Fprintf(os.Stderr, "uppercase: %v\n\n%s", err, usage)
		os.Exit(2)
	}
	// Run ends when ctx does: it stops reading, finishes and delivers what is being worked on,
	// commits, and leaves the group.
	if err := pipeline.Run(ctx, cfg); err != nil {
		log.Fatal("uppercase: ", err)
	}
}

func configure(getenv func(string) string) (pipeline.Config, error) {
	env := map[string]string{}
	for _, name := range []string{"KAFKA_BROKERS", "GROUP", "INPUT", "OUTPUT", "SIDECAR"} {
		if env[name] = getenv(name); env[name] == "" {
			return pipeline.Config{}, fmt.Errorf("%s is not set", name)
		}
	}
	work, err := time.ParseDuration(cmp.Or(getenv("WORK"), "0"))
	if err != nil || work < 0 {
		return pipeline.Config{}, fmt.Errorf("WORK is %q: give a duration like 5ms or 1s", getenv("WORK"))
	}
	lanes, err := strconv.Atoi(cmp.Or(getenv("CONCURRENCY"), "0"))
	if err != nil || lanes < 0 {
		return pipeline.Config{}, fmt.Errorf("CONCURRENCY is %q: give a number of messages, 1 or more", getenv("CONCURRENCY"))
	}
	var protocol consumer.Protocol
	if err := protocol.UnmarshalText([]byte(getenv("PROTOCOL"))); err != nil {
		return pipeline.Config{}, fmt.Errorf("PROTOCOL: %w", err)
	}
	var mode pipeline.Mode
	if err := mode.UnmarshalText([]byte(getenv("MODE"))); err != nil {
		return pipeline.Config{}, fmt.Errorf("MODE: %w", err)
	}
	brokers := strings.Split(env["KAFKA_BROKERS"], ",")
	out := producer.Dial(env["SIDECAR"])
	if env["SIDECAR"] == "direct" {
		out = producer.Direct(producer.DirectConfig{Brokers: brokers, TransactionalID: getenv("TRANSACTIONAL_ID")})
	}
	return pipeline.Config{
		Consumer:    consumer.Config{Brokers: brokers, Group: env["GROUP"], Topics: []string{env["INPUT"]}, StateDir: getenv("STATE_DIR"), Protocol: protocol},
		Producer:    out,
		Mode:        mode,
		Handler:     uppercase(env["OUTPUT"], work),
		Concurrency: lanes, SourceHeaders: getenv("SOURCE_HEADERS") == "1",
	}, nil
}

func uppercase(topic string, work time.Duration) pipeline.HandlerFunc {
	return func(ctx context.Context, in *consumer.Message) ([]producer.Record, error) {
		if work > 0 {
			// The context does not end with SIGTERM but when the input must be given up: its
			// partition has gone, or the drain took too long.
			select {
			case <-time.After(work):
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
		return []producer.Record{{Topic: topic, Key: in.Key, Value: bytes.ToUpper(in.Value)}}, nil
	}
}
