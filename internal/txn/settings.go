package txn

import (
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/configerr"
	"github.com/ackmark/ackmark/internal/kgoopt"
)

// Defaults and bounds of what a user sets.
const (
	DefaultEvery   = 100 * time.Millisecond
	DefaultTimeout = 15 * time.Second

	minEvery   = 5 * time.Millisecond
	maxEvery   = time.Second
	minTimeout = time.Second
	maxID      = 200
)

// Settings are what a user sets of transactions, in the fields TransactionalID, CommitEvery,
// TransactionTimeout and Options of a configuration.
type Settings struct {
	ID             string // empty: there are none
	Every, Timeout time.Duration
	Options        []kgo.Opt
	// LingerRemedy is what to do instead of kgo.ProducerLinger.
	LingerRemedy string
}

// notIn are the options of Kafka's client that transactions set themselves, or cannot be had with,
// and what to do instead.
var notIn = map[string]string{
	"TransactionTimeout": "set TransactionTimeout of the configuration",
	"MetadataMinAge":     "leave it out with TransactionalID: a transaction that the coordinator refuses waits for the next metadata",
	"MaxVersions":        "leave it out with TransactionalID: transactions need the requests of Kafka 4.0 (KIP-890)",
}

// Validate notes what is wrong, with field and remedy.
func (s *Settings) Validate(wrong *configerr.List) {
	if s.ID == "" {
		wrong.If(s.Every != 0, "CommitEvery", s.Every, "it is the interval of transactions: set TransactionalID, or leave it 0")
		wrong.If(s.Timeout != 0, "TransactionTimeout", s.Timeout, "set TransactionalID, or leave it 0")
		return
	}
	wrong.If(len(s.ID) > maxID, "TransactionalID", configerr.Words(fmt.Sprintf("%d characters long", len(s.ID))), fmt.Sprintf("at most %d", maxID))
	wrong.If(s.Every < minEvery || s.Every > maxEvery, "CommitEvery", s.Every, "5ms to 1s; leave it 0 for 100ms")
	wrong.If(s.Timeout < 4*s.Every || s.Timeout < minTimeout, "TransactionTimeout", s.Timeout, "at least 1s and four times CommitEvery; leave it 0 for 15s")
	for _, o := range s.Options {
		name := kgoopt.Name(o)
		remedy := notIn[name]
		if name == "ProducerLinger" {
			remedy = s.LingerRemedy
		}
		if remedy != "" {
			wrong.Wrong("Options", configerr.Words("kgo."+name), remedy)
		}
	}
}
