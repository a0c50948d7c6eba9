package scenarios

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/lab"
	"github.com/ackmark/ackmark/internal/verify"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/producer"
)

// Inputs and outputs that fail for good.
var failures = []scenario{
	{"poison", lab.Config{DeadLetter: true, Handler: failSome}, func(l *lab.Lab) {
		l.StartApp("a")
		l.Feed(400)
	}},
	{"output refused", lab.Config{DeadLetter: true}, func(l *lab.Lab) {
		// Kafka takes some batches neither now nor ever: their inputs become dead letters.
		l.StartApp("a")
		l.Feed(100)
		l.Sleep(2 * time.Second)
		l.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: lab.Out, Err: kerr.InvalidRecord, Count: 3})
		l.Feed(100)
	}},
	truncated(),
}

// failSome fails for some inputs however often it is asked.
func failSome(l *lab.Lab, in *consumer.Message) ([]producer.Record, error) {
	if l.Chance("poison", in, 0.05) {
		return nil, errPoison
	}
	return lab.Upper(l, in)
}

// truncated: inputs are deleted before they were read. The app halts; the operator gives them up and starts one that may go on.
func truncated() scenario {
	policy := consumer.Halt
	cfg := lab.Config{App: func(cfg *pipeline.Config) { cfg.Consumer.OnOutOfRange = policy }}
	return scenario{"truncated", cfg, func(l *lab.Lab) {
		policy = consumer.Halt
		a := l.StartApp("a")
		l.Feed(300)
		l.Idle()
		_ = a.Stop()
		from := commits(l)
		l.Feed(300)
		to := truncate(l, from)
		b := l.StartApp("b")
		l.Sleep(10 * time.Second)
		for _, p := range b.State().Consumer.Partitions {
			if p.Halted == nil {
				continue
			}
			at := verify.Partition{Topic: p.Topic, Partition: p.Partition}
			l.Checker.Excuse(at, from[p.Partition], to[p.Partition], "the operator gives them up")
		}
		_ = b.Stop()
		policy = consumer.Earliest
		l.StartApp("c")
	}}
}

func commits(l *lab.Lab) map[int32]int64 {
	at := map[int32]int64{}
	for p, c := range l.Cluster.GroupInfo(lab.Group).Commits[lab.In] {
		at[p] = c.Offset
	}
	return at
}

// truncate deletes half of what comes after these offsets, and returns where the logs start then.
func truncate(l *lab.Lab, from map[int32]int64) map[int32]int64 {
	cl := l.Client("operator")
	defer cl.Close()
	to, offsets := map[int32]int64{}, kadm.Offsets{}
	for _, p := range l.Cluster.PartitionInfos(lab.In) {
		to[p.Partition] = from[p.Partition] + (p.HighWatermark-from[p.Partition])/2
		offsets.AddOffset(lab.In, p.Partition, to[p.Partition], -1)
	}
	if _, err := kadm.NewClient(cl).DeleteRecords(context.Background(), offsets); err != nil {
		l.T.Fatal(err)
	}
	return to
}
