package telemetry

import "go.opentelemetry.io/otel/attribute"

// TransactionalID is the id of the configuration: those of the brokers are made of it.
const TransactionalID attribute.Key = "ackmark.transactional_id"

// What transactions tell: a sidecar's, and those of a process without one.
var (
	Transactions = &Metric{
		Name: "ackmark.transactions", Unit: "{transaction}", Kind: Counter,
		Help:       "Transactions by how they ended: committed, aborted; and those of which nobody said it at first (unknown), until the group's offsets told.",
		Attributes: []attribute.Key{TransactionalID, Outcome},
	}
	TransactionUnits = &Metric{
		Name: "ackmark.transaction.units", Unit: "{unit}", Kind: Counter,
		Help:       "Inputs with their outputs, by how their transaction ended: committed, aborted. After an abort they are tried again, but those that it was the fault of, and at the end of their process.",
		Attributes: []attribute.Key{TransactionalID, Outcome},
	}
	TransactionAborts = &Metric{
		Name: "ackmark.transaction.aborts", Unit: "{transaction}", Kind: Counter,
		Help:       "Aborted transactions by the reason: Kafka's error, or ASSIGNMENT_LOST, MEMBER_FENCED, GROUP_AWAY (its coordinator takes no offsets), TOO_SLOW, NETWORK, INPUT_NOT_OPEN, DONE_SET_TOO_LARGE; at the end of its process, CLOSED or TRANSACTIONAL_ID_TAKEN.",
		Attributes: []attribute.Key{TransactionalID, ErrorType},
	}
	TransactionTime = &Metric{
		Name: "ackmark.transaction.duration", Unit: "s", Kind: Histogram, Buckets: durations,
		Help:       "How long it took from the first unit of a transaction to its end.",
		Attributes: []attribute.Key{TransactionalID, Outcome},
	}
	TransactionAge = &Metric{
		Name: "ackmark.transaction.age", Unit: "s", Kind: Gauge,
		Help:       "Time since the last transaction was committed, or since there is something to commit, if that is later; or since units wait for a group that takes no offsets, if that is longer; 0 with nothing to commit.",
		Attributes: []attribute.Key{TransactionalID},
	}
	TransactionalIDs = &Metric{
		Name: "ackmark.transactional_ids", Unit: "{id}", Kind: Level,
		Help:       "Transactional ids by state: starting (not taken yet), working, uncertain (how the last transaction ended is being found out), fenced (another process has it), ended.",
		Attributes: []attribute.Key{TransactionalID, State},
	}
	RenewedIDs = &Metric{
		Name: "ackmark.transactional_id.taken_anew", Unit: "{id}", Kind: Counter,
		Help:       "Times that an id was taken anew, as nobody knew what was open under it.",
		Attributes: []attribute.Key{TransactionalID},
	}
)

var ofTransactions = []*Metric{Transactions, TransactionUnits, TransactionAborts, TransactionTime, TransactionAge, TransactionalIDs, RenewedIDs}
