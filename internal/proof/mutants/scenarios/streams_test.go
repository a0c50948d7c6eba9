package scenarios

import (
	"time"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/proof/lab"
	"github.com/ackmark/ackmark/internal/proof/verify"
	"github.com/ackmark/ackmark/producer"
)

// The stream between app and sidecar.
var streams = []scenario{
	{name: "sidecar killed", cfg: lab.Config{Keys: 8}, play: func(l *lab.Lab) {
		// Units that were sent and are lost with the sidecar, and units that were not sent, have to
		// come (again) in their order.
		l.StartApp("a")
		l.FeedOver(3000, 6*time.Second)
		for range 4 {
			l.Sleep(1007 * time.Millisecond)
			l.CutSidecarBrokers()
			l.Sleep(300 * time.Millisecond)
			l.KillSidecar()
			l.Sleep(100 * time.Millisecond)
			l.StartSidecar()
		}
	}},
	{name: "slow reader", cfg: lab.Config{}, play: func(l *lab.Lab) {
		// Reports pile up while the app does not read them.
		a := l.StartApp("a")
		l.Feed(100)
		l.Sleep(2 * time.Second)
		a.SlowSidecar(300 * time.Millisecond)
		l.FeedOver(2000, 3*time.Second)
		l.Sleep(10 * time.Second)
	}},
	{name: "filtered", cfg: lab.Config{Handler: filterQuarter, Expect: expectFiltered}, play: func(l *lab.Lab) {
		l.StartApp("a")
		l.Feed(400)
	}},
	{name: "filtered in transactions", cfg: lab.Config{ExactlyOnce: true, Handler: filterQuarter, Expect: expectFiltered}, play: func(l *lab.Lab) {
		// One at a time: most windows have outputs, and some have none.
		l.StartApp("a")
		l.FeedOver(100, 50*time.Second)
	}},
}

func filterQuarter(l *lab.Lab, in *consumer.Message) ([]producer.Record, error) {
	if id, err := verify.Parse(in.Value); err == nil && expectFiltered(id.Global) == 0 {
		return nil, nil
	}
	return lab.Upper(l, in)
}

func expectFiltered(id uint64) int {
	if id%4 == 0 {
		return 0
	}
	return 1
}
