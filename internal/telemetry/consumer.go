package telemetry

import "go.opentelemetry.io/otel/attribute"

// perPartition are the attributes of what each assigned partition has.
var perPartition = []attribute.Key{Group, Topic, Partition}

// What a consumer counts. Of the five lags the later contain the earlier ones: what is not fetched
// is not handled, what is not handled is not acknowledged, what is not acknowledged is not
// committed.
var (
	Consumed = &Metric{
		Name: "messaging.client.consumed.messages", Unit: "{message}", Kind: Counter,
		Help: "Inputs handed out.", Attributes: []attribute.Key{System, Operation, Group, Topic},
	}
	Done = &Metric{
		Name: "ackmark.consumer.done", Unit: "{message}", Kind: Counter,
		Help: "Inputs that are done.", Attributes: []attribute.Key{Group, Topic},
	}
	Inherited = &Metric{
		Name: "ackmark.consumer.inherited", Unit: "{message}", Kind: Counter,
		Help: "Inputs that were not handed out again, as a done-set said that they are done.", Attributes: []attribute.Key{Group, Topic},
	}
	Lost = &Metric{
		Name: "ackmark.consumer.lost", Unit: "{message}", Kind: Counter,
		Help: "Offsets that were passed unread because OnOutOfRange said so.", Attributes: []attribute.Key{Group, Topic},
	}
	LogEnd = &Metric{
		Name: "ackmark.partition.log_end.offset", Unit: "{offset}", Kind: Gauge, Fold: Most,
		Help: "End of the partition's log.", Attributes: perPartition,
	}
	FetchLag = &Metric{
		Name: "ackmark.partition.lag.fetched", Unit: "{message}", Kind: Gauge,
		Help: "Offsets between the end of the log and what was fetched.", Attributes: perPartition,
	}
	HandleLag = &Metric{
		Name: "ackmark.partition.lag.handled", Unit: "{message}", Kind: Gauge,
		Help: "Offsets between the end of the log and what was handed to handlers.", Attributes: perPartition,
	}
	AckLag = &Metric{
		Name: "ackmark.partition.lag.acknowledged", Unit: "{message}", Kind: Gauge,
		Help: "Offsets between the end of the log and the ack mark.", Attributes: perPartition,
	}
	CommitLag = &Metric{
		Name: "ackmark.partition.lag.committed", Unit: "{message}", Kind: Gauge,
		Help: "Offsets between the end of the log and what is committed.", Attributes: perPartition,
	}
	OldestAge = &Metric{
		Name: "ackmark.partition.oldest.age", Unit: "s", Kind: Gauge, Fold: Most,
		Help: "Time since the first input that is not done was handed out.", Attributes: perPartition,
	}
	OldestOffset = &Metric{
		Name: "ackmark.partition.oldest.offset", Unit: "{offset}", Kind: Gauge, Fold: Most,
		Help: "The ack mark: the offset of the first input that is not done, or of the next one to come.", Attributes: perPartition,
	}
	Gap = &Metric{
		Name: "ackmark.partition.gap", Unit: "{message}", Kind: Gauge,
		Help: "Inputs above the ack mark that are done already.", Attributes: perPartition,
	}
	Paused = &Metric{
		Name: "ackmark.partition.paused", Unit: "{partition}", Kind: Gauge,
		Help: "1 while the partition is not read: the memory budget is used up (memory), it cannot be read yet (waiting), it stands still (halted), or nothing comes of it though it should (unread).", Attributes: append([]attribute.Key{Reason}, perPartition...),
	}
	Rebalances = &Metric{
		Name: "ackmark.consumer.rebalances", Unit: "{rebalance}", Kind: Counter,
		Help: "Rebalances, by whether partitions came, went in order, or were lost.", Attributes: []attribute.Key{Group, Outcome},
	}
	RebalanceTime = &Metric{
		Name: "ackmark.consumer.rebalance.duration", Unit: "s", Kind: Histogram, Buckets: durations,
		Help: "How long this member took for its part of a rebalance.", Attributes: []attribute.Key{Group, Outcome},
	}
	PartitionRebalances = &Metric{
		Name: "ackmark.partition.rebalances", Unit: "{rebalance}", Kind: Counter,
		Help: "How often the partition came to this member, or left it.", Attributes: perPartition,
	}
	PartitionRebalanceTime = &Metric{
		Name: "ackmark.partition.rebalance.duration", Unit: "s", Kind: Counter,
		Help: "How long this member took, in all, for rebalances in which the partition came or left.", Attributes: perPartition,
	}
	DrainOverruns = &Metric{
		Name: "ackmark.consumer.drain.overruns", Unit: "{message}", Kind: Counter,
		Help: "Inputs that were abandoned: started, and not done when the drain's deadline passed.", Attributes: perPartition,
	}
	Commits = &Metric{
		Name: "ackmark.consumer.commits", Unit: "{request}", Kind: Counter,
		Help: "Commits, by the error that the broker answered with.", Attributes: []attribute.Key{Group, ErrorType},
	}
	ConsumerWills = &Metric{
		Name: "ackmark.consumer.wills", Unit: "{will}", Kind: Counter,
		Help:       "Wills of dead processes that StateDir had, by how they ended: complete (nothing repeats), superseded, other_cluster, failed, late.",
		Attributes: []attribute.Key{Group, Outcome},
	}
	Repeats = &Metric{
		Name: "ackmark.consumer.repeats", Unit: "{message}", Kind: Counter,
		Help: "Inputs that are handled or delivered again, here or elsewhere, by cause: lost, abandoned, uncommitted, redelivered.", Attributes: append([]attribute.Key{Reason}, perPartition...),
	}
)

var ofConsumer = []*Metric{
	Consumed, Done, Inherited, Lost, LogEnd, FetchLag, HandleLag, AckLag, CommitLag, OldestAge, OldestOffset, Gap, Paused, Rebalances, RebalanceTime, PartitionRebalances, PartitionRebalanceTime, DrainOverruns, Commits, ConsumerWills, Repeats,
}

// What a pipeline counts.
var (
	ProcessTime = &Metric{
		Name: "messaging.process.duration", Unit: "s", Kind: Histogram, Buckets: durations,
		Help: "How long handlers took, of some inputs.", Attributes: []attribute.Key{System, Operation, Group, Topic, ErrorType},
	}
	Handled = &Metric{
		Name: "ackmark.pipeline.handled", Unit: "{message}", Kind: Counter,
		Help: "Inputs by what became of them: acknowledged, dead_letter; rejected, which counts each before its letter; dropped, undelivered.", Attributes: []attribute.Key{Group, Outcome},
	}
	HandlerRetries = &Metric{
		Name: "ackmark.pipeline.retries", Unit: "{attempt}", Kind: Counter,
		Help: "Handlers that were run again for an input.", Attributes: []attribute.Key{Group, Topic},
	}
	HandlerTimeouts = &Metric{
		Name: "ackmark.pipeline.timeouts", Unit: "{attempt}", Kind: Counter,
		Help: "Handlers that ran longer than HandlerTimeout.", Attributes: []attribute.Key{Group},
	}
	HandlerLetters = &Metric{
		Name: "ackmark.pipeline.dead_letters", Unit: "{message}", Kind: Counter,
		Help: "Inputs whose dead letter was acknowledged, by topic of the input and kind of error.", Attributes: []attribute.Key{Group, Topic, ErrorType},
	}
	Lanes = &Metric{
		Name: "ackmark.pipeline.lanes", Unit: "{lane}", Kind: Level,
		Help: "Lanes: handlers that may run at once.", Attributes: []attribute.Key{Group},
	}
	LanesBusy = &Metric{
		Name: "ackmark.pipeline.lanes.busy", Unit: "{lane}", Kind: Level,
		Help: "Lanes that run a handler.", Attributes: []attribute.Key{Group},
	}
	Queued = &Metric{
		Name: "ackmark.pipeline.queued", Unit: "{message}", Kind: Level,
		Help: "Inputs that wait for a handler.", Attributes: []attribute.Key{Group},
	}
	Finished = &Metric{
		Name: "ackmark.pipeline.finished", Unit: "{message}", Kind: Level,
		Help: "Inputs whose handler is done and whose outputs wait to be delivered.", Attributes: []attribute.Key{Group},
	}
	Halted = &Metric{
		Name: "ackmark.pipeline.halted", Unit: "{partition}", Kind: Level,
		Help: "Partitions that stand still at an input that cannot be done.", Attributes: []attribute.Key{Group},
	}
)

var ofPipeline = []*Metric{
	ProcessTime, Handled, HandlerRetries, HandlerTimeouts, HandlerLetters, Lanes, LanesBusy, Queued, Finished, Halted,
}

// Sentinels count what must never be: every one of them stays 0, or a promise is broken.
var (
	CommitBeyond = &Metric{
		Name: "ackmark.sentinel.commit_beyond", Unit: "{commit}", Kind: Counter,
		Help: "Commits above the first input that is not done. Must stay 0.", Attributes: []attribute.Key{Group},
	}
	OrderBroken = &Metric{
		Name: "ackmark.sentinel.order_inverted", Unit: "{message}", Kind: Counter,
		Help: "Inputs whose outputs overtook those of an earlier one of their key. Must stay 0.", Attributes: []attribute.Key{Group},
	}
	InputSkipped = &Metric{
		Name: "ackmark.sentinel.input_skipped", Unit: "{message}", Kind: Counter,
		Help: "Inputs that were passed without being done. Must stay 0.", Attributes: []attribute.Key{Group},
	}
	ClosedAdmitted = &Metric{
		Name: "ackmark.sentinel.closed_admitted", Unit: "{unit}", Kind: Counter,
		Help: "Units that were taken for a session that is closed. Must stay 0.",
	}
)

var sentinels = []*Metric{CommitBeyond, OrderBroken, InputSkipped, ClosedAdmitted}
