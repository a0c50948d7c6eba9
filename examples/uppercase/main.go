// Command uppercase reads INPUT, writes each value in upper case under the same key to OUTPUT, and
// commits an input only when Kafka has its output.
package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
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
  ADMIN          host:port of the admin port: page, probes, /metrics for Prometheus           default none
  ADMIN_HOSTS    names by which it may be called, beside localhost and its address            default none
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	job, err := configure(os.Getenv)
	if err != nil {
		fmt.Fprintf(os.Stderr, "uppercase: %v\n\n%s", err, usage)
		os.Exit(2)
	}
	// Run ends when ctx does: it stops reading, finishes and delivers what is being worked on,
	// commits, and leaves the group.
	if err := job.run(ctx); err != nil {
		log.Fatal("uppercase: ", err)
	}
}

// job is the pipeline, and where one looks at it.
type job struct {
	pipeline.Config
	admin *adminPort
}

func (j job) run(ctx context.Context) error {
	p, err := pipeline.New(j.Config)
	if err != nil {
		return errors.Join(err, j.Producer.Close())
	}
	return j.admin.run(ctx, p)
}

func configure(getenv func(string) string) (job, error) {
	env := map[string]string{}
	for _, name := range []string{"KAFKA_BROKERS", "GROUP", "INPUT", "OUTPUT", "SIDECAR"} {
		if env[name] = getenv(name); env[name] == "" {
			return job{}, fmt.Errorf("%s is not set", name)
		}
	}
	work, err := time.ParseDuration(cmp.Or(getenv("WORK"), "0"))
	if err != nil || work < 0 {
		return job{}, fmt.Errorf("WORK is %q: give a duration like 5ms or 1s", getenv("WORK"))
	}
	lanes, err := strconv.Atoi(cmp.Or(getenv("CONCURRENCY"), "0"))
	if err != nil || lanes < 0 {
		return job{}, fmt.Errorf("CONCURRENCY is %q: give a number of messages, 1 or more", getenv("CONCURRENCY"))
	}
	var protocol consumer.Protocol
	if err := protocol.UnmarshalText([]byte(getenv("PROTOCOL"))); err != nil {
		return job{}, fmt.Errorf("PROTOCOL: %w", err)
	}
	var mode pipeline.Mode
	if err := mode.UnmarshalText([]byte(getenv("MODE"))); err != nil {
		return job{}, fmt.Errorf("MODE: %w", err)
	}
	brokers := strings.Split(env["KAFKA_BROKERS"], ",")
	admin, err := newAdminPort(getenv("ADMIN"), strings.FieldsFunc(getenv("ADMIN_HOSTS"), func(r rune) bool { return r == ',' }))
	if err != nil {
		return job{}, fmt.Errorf("ADMIN: %w", err)
	}
	var out producer.Producer
	if env["SIDECAR"] == "direct" {
		out = producer.Direct(producer.DirectConfig{Brokers: brokers, TransactionalID: getenv("TRANSACTIONAL_ID"), MeterProvider: admin.meters})
	} else {
		out = producer.DialConfig{Target: env["SIDECAR"], MeterProvider: admin.meters}.New()
	}
	return job{admin: admin, Config: pipeline.Config{
		Consumer:    consumer.Config{Brokers: brokers, Group: env["GROUP"], Topics: []string{env["INPUT"]}, StateDir: getenv("STATE_DIR"), Protocol: protocol},
		Producer:    out,
		Mode:        mode,
		Handler:     uppercase(env["OUTPUT"], work),
		Concurrency: lanes, SourceHeaders: getenv("SOURCE_HEADERS") == "1",
		MeterProvider: admin.meters,
	}}, nil
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
