package e2e

import (
	"context"
	"log"
	"os"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/consumer"
)

// runLoop is the app of roleLoop.
func runLoop(ctx context.Context, _ string) error {
	brokers := strings.Split(os.Getenv("KAFKA_BROKERS"), ",")
	var protocol consumer.Protocol
	if err := protocol.UnmarshalText([]byte(os.Getenv(envProtocol))); err != nil {
		return err
	}
	c, err := consumer.New(consumer.Config{
		Brokers: brokers, Group: os.Getenv("GROUP"), Topics: []string{os.Getenv("INPUT")}, Protocol: protocol, StateDir: os.Getenv(envStateDir),
		SessionTimeout: duration(envSession, appSession), CommitEvery: duration(envCommit, 0),
	})
	if err != nil {
		return err
	}
	out, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.DefaultProduceTopic(os.Getenv("OUTPUT")), kgo.ProducerLinger(0))
	if err != nil {
		return err
	}
	defer out.Close()
	for m, err := range c.Messages(ctx) {
		if err != nil {
			return err
		}
		by := []kgo.RecordHeader{{Key: byHeader, Value: []byte(os.Getenv(envName))}}
		rec := &kgo.Record{Key: m.Key, Value: []byte(strings.ToUpper(string(m.Value))), Headers: by}
		if err := out.ProduceSync(ctx, rec).FirstErr(); err != nil {
			log.Print(err)
			return err
		}
		m.Done(nil)
	}
	return nil
}
