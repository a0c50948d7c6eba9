package scenarios

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/proof/lab"
	"github.com/ackmark/ackmark/internal/proof/verify"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/sidecar"
)

// Inputs and outputs that fail for good.
var failures = []scenario{
	{name: "poison", cfg: lab.Config{DeadLetter: true, Handler: failSome}, play: func(l *lab.Lab) {
		l.StartApp("a")
		l.Feed(400)
	}},
	{name: "output refused", cfg: lab.Config{DeadLetter: true, Handler: tooLarge, Sidecar: smallRecords}, play: func(l *lab.Lab) {
		// Some outputs are too large for Kafka: their inputs become dead letters.
		l.StartApp("a")
		l.Feed(400)
	}},
	{name: "direct, unknown topic", cfg: lab.Config{Direct: true, DeadLetter: true, Handler: nowhere}, play: func(l *lab.Lab) {
		// The same with a producer in the process, and outputs to a topic that does not exist.
		l.StartApp("a")
		l.Feed(400)
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

func nowhere(l *lab.Lab, in *consumer.Message) ([]producer.Record, error) {
	out, err := lab.Upper(l, in)
	if l.Chance("nowhere", in, 0.05) {
		out[0].Topic = "nowhere"
	}
	return out, err
}

func smallRecords(cfg *sidecar.Config) { cfg.MaxRecordBytes = 2048 }

func tooLarge(l *lab.Lab, in *consumer.Message) ([]producer.Record, error) {
	out, err := lab.Upper(l, in)
	if l.Chance("large", in, 0.05) {
		out[0].Headers = []producer.Header{{Key: "padding", Value: make([]byte, 4096)}}
	}
	return out, err
}

// truncated: inputs are deleted before they were read. The app halts; the operator gives them up
// and starts one that may go on.
func truncated() scenario {
	policy := consumer.Halt
	cfg := lab.Config{App: func(cfg *pipeline.Config) { cfg.Consumer.OnOutOfRange = policy }}
	return scenario{name: "truncated", cfg: cfg, play: func(l *lab.Lab) {
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
		policy = consumer.ResetEarliest
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
