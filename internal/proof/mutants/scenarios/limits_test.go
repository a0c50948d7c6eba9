package scenarios

import (
	"time"

	"github.com/ackmark/ackmark/internal/proof/lab"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/sidecar"
)

// fewRecords is the limit of inputs that the apps hold.
const fewRecords = 400

// Budgets, windows and lanes.
var limits = []scenario{
	{name: "backlog", cfg: lab.Config{App: smallApp}, play: func(l *lab.Lab) {
		// More waits than anybody may hold.
		l.StartApp("a")
		l.Feed(3000)
	}},
	{name: "small window", cfg: lab.Config{Sidecar: smallSidecar}, play: func(l *lab.Lab) {
		l.StartApp("a")
		l.Feed(2000)
	}},
	{name: "stalled", cfg: lab.Config{App: smallApp}, play: func(l *lab.Lab) {
		// A backlog waits and nothing is acknowledged: what is held stays below its bound.
		a := l.StartApp("a")
		l.CutSidecarBrokers()
		l.Feed(5000)
		for range 100 {
			l.Sleep(100 * time.Millisecond)
			held := 0
			for _, p := range a.State().Consumer.Partitions {
				held += p.Pending
			}
			l.Checker.MemorySample("inputs that an app holds", int64(held), fewRecords+fewRecords/8+lab.DefaultPartitions)
		}
	}},
	{name: "many lanes", cfg: lab.Config{Concurrency: 16, Work: 50 * time.Millisecond}, play: func(l *lab.Lab) {
		l.StartApp("a")
		l.Feed(800)
	}},
}

func smallApp(cfg *pipeline.Config) { cfg.Consumer.MaxRecords = fewRecords }

// smallSidecar gives each of its four sessions 218 records.
func smallSidecar(cfg *sidecar.Config) { cfg.MaxRecords, cfg.MaxSessions = 1000, 4 }
