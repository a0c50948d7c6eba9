package scenarios

import (
	"cmp"
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/proof/lab"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/producer"
)

// Kafka, or the way to it, fails for a while.
var outages = []scenario{
	{name: "outage", cfg: lab.Config{DeadLetter: true, Handler: rejectSome}, play: func(l *lab.Lab) {
		// Outputs and dead letters cannot be written, commits can: whatever is done too early is
		// committed too early.
		l.StartApp("a")
		l.Feed(300)
		l.Sleep(3 * time.Second)
		l.CutSidecarBrokers()
		l.Feed(300)
		l.Sleep(5 * time.Second)
	}},
	{name: "control records", cfg: lab.Config{}, play: func(l *lab.Lab) {
		// Transaction markers stand between inputs whose outputs cannot be written.
		l.StartApp("a")
		l.Feed(300)
		l.Sleep(3 * time.Second)
		l.CutSidecarBrokers()
		l.Feed(300)
		l.Sleep(time.Second)
		writeMarkers(l)
		l.Sleep(time.Second)
		l.Feed(300)
		l.Sleep(3 * time.Second)
	}},
	{name: "steady", cfg: lab.Config{}, play: func(l *lab.Lab) {
		l.StartApp("a")
		l.FeedOver(600, 6*time.Second)
		l.Sleep(8 * time.Second)
	}},
	{name: "slow coordinator", cfg: lab.Config{}, play: func(l *lab.Lab) {
		// An answer takes longer than the time between two commits.
		a := l.StartApp("a")
		l.Feed(50)
		l.Sleep(3 * time.Second)
		a.SlowBrokers(1500 * time.Millisecond)
		l.FeedOver(600, 12*time.Second)
		l.Sleep(15 * time.Second)
	}},
	{name: "commit refused", cfg: lab.Config{}, play: func(l *lab.Lab) {
		// One commit is refused and has to be made again, while inputs go on being done.
		l.StartApp("a")
		l.FeedOver(800, 12*time.Second)
		l.Sleep(3 * time.Second)
		l.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.RebalanceInProgress, Count: 1})
		l.Sleep(10 * time.Second)
	}},
	{name: "commit fenced", cfg: lab.Config{}, play: func(l *lab.Lab) {
		// The coordinator does not know the member any more, and says so to a commit.
		l.StartApp("a")
		l.FeedOver(400, 6*time.Second)
		l.Sleep(3 * time.Second)
		l.CommitsAreLost()
		l.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.IllegalGeneration, Count: 1})
		l.Sleep(3 * time.Second)
		l.CommitsAreLost()
		l.Sleep(10 * time.Second)
	}},
}

func rejectSome(l *lab.Lab, in *consumer.Message) ([]producer.Record, error) {
	if l.Chance("reject", in, 0.5) {
		return nil, pipeline.Reject(errPoison)
	}
	return lab.Upper(l, in)
}

// writeMarkers begins a transaction over all input partitions and ends it with nothing in it, which
// leaves one control record in each.
func writeMarkers(l *lab.Lab) {
	cl := l.Client("transactions", kgo.MaxVersions(kversion.V3_5_0())) // a request for one transaction, not for a batch of them
	defer cl.Close()
	ask := func(err error, code int16) {
		if err = cmp.Or(err, kerr.ErrorForCode(code)); err != nil {
			l.T.Fatalf("a transaction without records: %v", err)
		}
	}
	ctx, id := context.Background(), "markers"
	begin := kmsg.NewPtrInitProducerIDRequest()
	begin.TransactionalID, begin.TransactionTimeoutMillis = &id, 60_000
	pid, err := begin.RequestWith(ctx, cl)
	ask(err, pid.ErrorCode)
	add := kmsg.NewPtrAddPartitionsToTxnRequest()
	add.TransactionalID, add.ProducerID, add.ProducerEpoch = id, pid.ProducerID, pid.ProducerEpoch
	topic := kmsg.NewAddPartitionsToTxnRequestTopic()
	topic.Topic = lab.In
	for p := range int32(lab.DefaultPartitions) {
		topic.Partitions = append(topic.Partitions, p)
	}
	add.Topics = append(add.Topics, topic)
	added, err := add.RequestWith(ctx, cl)
	ask(err, added.ErrorCode)
	end := kmsg.NewPtrEndTxnRequest()
	end.TransactionalID, end.ProducerID, end.ProducerEpoch, end.Commit = id, pid.ProducerID, pid.ProducerEpoch, true
	ended, err := end.RequestWith(ctx, cl)
	ask(err, ended.ErrorCode)
}
