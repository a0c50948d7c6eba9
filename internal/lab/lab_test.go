package lab

import "testing"

func TestTheMainWay(t *testing.T) {
	Run(t, Config{}, func(l *Lab) {
		l.StartApp("a")
		l.StartApp("b")
		l.Feed(1000)
	})
}

func TestAppKilled(t *testing.T) {
	Run(t, Config{}, func(l *Lab) {
		a := l.StartApp("a")
		l.StartApp("b")
		l.FeedOver(1000, 20e9)
		l.Sleep(8e9)
		a.Kill()
	})
}
