package lab

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// slowProduce makes each produce request take so long at the brokers: units stay open, and wills
// with them.
func slowProduce(l *Lab, d time.Duration) {
	l.Cluster.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		l.Cluster.KeepControl()
		l.Cluster.SleepControl(func() { time.Sleep(d) })
		return nil, nil, false
	})
}

// A static member is killed and started again at once, while Kafka is slow: it joins only when the
// will of its former process is executed. From then on the broker would refuse it
// (FENCED_INSTANCE_ID), and all since the last commit would be done again.
func TestStaticMemberRestartsAtOnce(t *testing.T) {
	for name, as := range map[string]AppConfig{
		"proven":           {Instance: "one"},
		"unproven":         {Instance: "one", Unproven: true},
		"same session":     {Instance: "one", Session: "s"},
		"same, not proven": {Instance: "one", Session: "s", Unproven: true},
	} {
		t.Run(name, func(t *testing.T) {
			Run(t, Config{App: sessionOf(longSession)}, func(l *Lab) { restartsAtOnce(l, as) })
		})
	}
}

func restartsAtOnce(l *Lab, as AppConfig) {
	a := l.StartAppAs("a", as)
	l.StartAppAs("b", AppConfig{Instance: "two"})
	l.Sleep(5 * time.Second)
	slowProduce(l, 100*time.Millisecond)
	l.FeedOver(1500, 30*time.Second)
	for range 3 {
		l.Sleep(6 * time.Second)
		held := len(a.State().Consumer.Partitions)
		a.Kill()
		// No process starts in no time, and on a socket the kernel tells of the end
		// before the next one can say anything.
		l.Sleep(time.Millisecond)
		a = l.StartAppAs("a", as)
		l.Sleep(4 * time.Second)
		if n := len(a.State().Consumer.Partitions); n != held {
			l.T.Errorf("held %d partitions before, %d now", held, n)
		}
	}
	l.Idle()
	nothingRepeats(l)
	w := l.Status().GetWills()
	if w.GetExecuted() != 3 || w.GetComplete() != 3 {
		l.T.Errorf("wills: %v; want three, all complete", w)
	}
}
