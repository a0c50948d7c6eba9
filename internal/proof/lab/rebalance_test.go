package lab

import (
	"fmt"
	"testing"
	"time"
)

func TestScaleUpAndDown(t *testing.T) {
	both(t, Config{Partitions: 9}, func(l *Lab) {
		l.FeedOver(2000, 30*time.Second)
		l.StartApp("a")
		l.Sleep(5 * time.Second)
		b, c := l.StartApp("b"), l.StartApp("c")
		l.Sleep(10 * time.Second)
		for _, a := range []*App{b, c} {
			if err := a.Stop(); err != nil {
				l.T.Errorf("%s: %v", a.Name, err)
			}
			l.Sleep(2 * time.Second)
		}
	})
}

// A member joins or leaves every half second (fault 20): there is progress all the while, and no
// partition is stranded.
func TestRebalanceStorm(t *testing.T) {
	Run(t, Config{Partitions: 8}, func(l *Lab) {
		l.FeedOver(2000, 40*time.Second)
		l.StartApp("steady")
		var come []*App
		for i := range 60 {
			l.Sleep(500 * time.Millisecond)
			if len(come) > 0 && (len(come) == 4 || l.Rand.IntN(2) == 0) {
				a := come[0]
				come = come[1:]
				if l.Rand.IntN(3) == 0 {
					a.Kill()
				} else if err := a.Stop(); err != nil {
					l.T.Errorf("%s: %v", a.Name, err)
				}
				continue
			}
			come = append(come, l.StartApp(fmt.Sprintf("guest%d", i)))
		}
		if n := l.Checker.Counts(); n.CommittedPartitions == 0 || n.Durable < 200 {
			l.T.Errorf("no progress in the storm: %+v", n)
		}
	})
}

// An app whose handlers take longer than the drain deadline lets go all the same; what it was at is
// done again.
func TestRebalanceWithSlowHandlers(t *testing.T) {
	both(t, Config{Work: 30 * time.Second, Keys: 10, App: drainIn(2 * time.Second)}, func(l *Lab) {
		l.StartApp("a")
		l.Feed(40)
		l.Sleep(10 * time.Second)
		b := l.StartApp("b")
		l.Sleep(time.Minute)
		_ = b.Stop() // abandons
	})
}

// Partitions that are added are read from their first input (fault 19).
func TestPartitionsAdded(t *testing.T) {
	Run(t, Config{}, func(l *Lab) {
		l.StartApp("a")
		l.StartApp("b")
		l.Feed(300)
		l.Idle()
		l.AddPartitions(4)
		l.Feed(600)
		l.Idle()
		for p := range l.jobs[0].stays.now {
			if p.Partition >= DefaultPartitions {
				return
			}
		}
		l.T.Error("nobody took the new partitions")
	})
}
