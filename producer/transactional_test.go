package producer_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/ackmark/ackmark/internal/proof/measured"
	"github.com/ackmark/ackmark/internal/telemetry"
	"github.com/ackmark/ackmark/producer"
)

// What is wrong in a transactional producer's configuration is refused with field and remedy,
// without a connection.
func TestTransactionalRefuses(t *testing.T) {
	for want, cfg := range map[string]producer.DirectConfig{
		"CommitEvery":         {CommitEvery: time.Second},
		"TransactionTimeout":  {TransactionTimeout: time.Second},
		"TransactionalID":     {TransactionalID: strings.Repeat("i", 201)},
		"CommitEvery ":        {TransactionalID: "id", CommitEvery: time.Minute},
		"TransactionTimeout ": {TransactionalID: "id", CommitEvery: time.Second, TransactionTimeout: 3 * time.Second},
		"Options":             {TransactionalID: "id", Options: []kgo.Opt{kgo.TransactionTimeout(time.Second)}},
		"Options ":            {TransactionalID: "id", Options: []kgo.Opt{kgo.ProducerLinger(time.Second)}},
		"Options  ":           {TransactionalID: "id", Options: []kgo.Opt{kgo.MaxVersions(kversion.V3_9_0())}},
		"Brokers":             {TransactionalID: "id"},
	} {
		if want != "Brokers" {
			cfg.Brokers = []string{"localhost:1"}
		}
		p := producer.Direct(cfg)
		err := p.(producer.Validator).Validate()
		var field *producer.ConfigError
		if !errors.As(err, &field) || field.Field != strings.TrimSpace(want) || field.Remedy == "" {
			t.Errorf("%s: %v", want, err)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A consumer that commits beside it would break both promises.
func TestTransactionalNeedsItsMode(t *testing.T) {
	p := producer.Direct(producer.DirectConfig{TransactionalID: "id", Brokers: []string{"localhost:1"}})
	defer p.Close()
	err := p.Assign(t.Context(), producer.Membership{Group: "g", MemberID: "m", Generation: 1}, nil)
	if err == nil || !strings.Contains(err.Error(), "pipeline.ExactlyOnce") {
		t.Errorf("Assign: %v", err)
	}
}

// A producer whose id is not taken yet, as no broker answers, says so to who collects.
func TestAnIDThatIsNotTakenIsTold(t *testing.T) {
	meter := measured.New()
	p := producer.Direct(producer.DirectConfig{TransactionalID: "id", Brokers: []string{"localhost:1"}, MeterProvider: meter})
	defer p.Close()
	if _, series := meter.Collect(t).Sum(telemetry.TransactionalIDs); series > 0 {
		t.Error("there is a state of what nobody has asked for")
	}
	if err := p.(producer.Validator).Validate(); err != nil {
		t.Fatal(err)
	}
	got := meter.Collect(t)
	got.Want(t, 1, telemetry.TransactionalIDs, telemetry.TransactionalID.String("id"), telemetry.State.String("starting"))
	got.Want(t, 0, telemetry.Transactions, telemetry.TransactionalID.String("id"), telemetry.Outcome.String("committed"))
}

// A broker that takes no transactions as long as the producer's refuses it for good: who delivers
// hears it, with what to do.
func TestTransactionsLongerThanTheBrokers(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t"), kfake.BrokerConfigs(map[string]string{"transaction.max.timeout.ms": "900000"}))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p := producer.Direct(producer.DirectConfig{TransactionalID: "id", TransactionTimeout: time.Hour, Brokers: c.ListenAddrs()})
	defer p.Close()
	refused := make(chan *producer.Error, 1)
	p.(producer.Refuser).OnRefused(func(err *producer.Error) { refused <- err })
	const remedy = "set TransactionTimeout (1h0m0s) to at most the brokers' transaction.max.timeout.ms"
	if _, err := p.Emit(t.Context(), producer.Record{Topic: "t"}); err == nil || !strings.Contains(err.Error(), remedy) {
		t.Errorf("Emit: %v", err)
	}
	if err := <-refused; err.Retryable || !strings.Contains(err.Error(), remedy) {
		t.Errorf("refused: %v", err)
	}
	if err := p.Check(t.Context()); err == nil || !strings.Contains(err.Error(), remedy) {
		t.Errorf("Check: %v", err)
	}
}
