package settings

import (
	"fmt"
	"time"

	"github.com/ackmark/ackmark/sidecar"
)

// Transactions are what exactly-once needs. Without an ID there are none.
type Transactions struct {
	ID             string
	Every, Timeout time.Duration
}

const (
	transactionalID    = "transactional_id"
	commitEvery        = "commit_every"
	transactionTimeout = "transaction_timeout"
)

var transactionFields = []Field{
	{
		Key: transactionalID, Usage: "commit the outputs and offsets of exactly-once apps in transactions under this id: the pod's place (orders-0), one for each sidecar that runs at the same time (default: every app is at-least-once)",
		set: func(s *Sidecar, v any) (err error) { s.Transactions.ID, err = asText(v); return err }, show: func(s *Sidecar) any { return s.Transactions.ID },
	},
	{
		Key: commitEvery, Default: sidecar.DefaultCommitEvery.String(), Usage: "time between the ends of two transactions, 5ms to 1s",
		set: duration(func(s *Sidecar) *time.Duration { return &s.Transactions.Every }), show: func(s *Sidecar) any { return s.Transactions.Every.String() },
	},
	{
		Key: transactionTimeout, Default: sidecar.DefaultTransactionTimeout.String(), Usage: "after how long the brokers abort a transaction that nobody ends; at most their transaction.max.timeout.ms",
		set: duration(func(s *Sidecar) *time.Duration { return &s.Transactions.Timeout }), show: func(s *Sidecar) any { return s.Transactions.Timeout.String() },
	},
}

// validateTransactions refuses their times where there are none: who sets them means to have them.
func (e *Effective) validateTransactions() {
	if e.Transactions.ID != "" {
		return
	}
	for key, d := range map[string][2]time.Duration{
		commitEvery:        {e.Transactions.Every, sidecar.DefaultCommitEvery},
		transactionTimeout: {e.Transactions.Timeout, sidecar.DefaultTransactionTimeout},
	} {
		if _, given := e.from[key]; given && d[0] != d[1] {
			e.fail(key, fmt.Sprintf("is %s, and there are no transactions; set %s, or leave it out", d[0], transactionalID))
		}
	}
}
