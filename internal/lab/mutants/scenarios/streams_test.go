package scenarios

import (
	"time"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/lab"
	"github.com/ackmark/ackmark/internal/verify"
	"github.com/ackmark/ackmark/producer"
)

// The stream between app and sidecar.
var streams = []scenario{
	{"stream broken", lab.Config{Keys: 8}, func(l *lab.Lab) {
		// Units that were sent, and units that were not, have to come again in their order.
		a := l.StartApp("a")
		l.FeedOver(3000, 6*time.Second)
		for range 4 {
			l.Sleep(1007 * time.Millisecond)
			l.CutSidecarBrokers()
			l.Sleep(200 * time.Millisecond)
			a.CutSidecar()
			l.Sleep(200 * time.Millisecond)
			l.HealSidecarBrokers()
			a.HealSidecar()
		}
	}},
	{"slow reader", lab.Config{}, func(l *lab.Lab) {
		// Reports pile up while the app does not read them.
		a := l.StartApp("a")
		l.Feed(100)
		l.Sleep(2 * time.Second)
		a.SlowSidecar(300 * time.Millisecond)
		l.FeedOver(2000, 3*time.Second)
		l.Sleep(10 * time.Second)
	}},
	{"filtered", lab.Config{Handler: filterQuarter, Expect: expectFiltered}, func(l *lab.Lab) {
		l.StartApp("a")
		l.Feed(400)
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
