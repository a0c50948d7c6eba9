// Package lab runs a whole pod in one testing/synctest bubble: three embedded brokers, a sidecar,
// app processes and a feeder, each on a network of its own that can be cut, blackholed, delayed and
// healed. Minutes of virtual time pass in milliseconds, and the checker of package verify watches
// the broker, the seam between pipeline and producer, and the handlers all the while.
//
//	func TestSomething(t *testing.T) {
//		lab.Run(t, lab.Config{Seed: 1}, func(l *lab.Lab) {
//			a := l.StartApp("a")
//			l.Feed(500)
//			a.Kill()
//			l.StartApp("b")
//			l.Feed(500)
//		}) // heals, waits until the group is at the end, stops everything in the order of Kubernetes, and checks
//	}
//
// # What counts as an incident
//
// The checker must be told what may repeat (S6), and by nothing less than what happened. The lab
// does so by itself, see stays.go: when a partition is taken over from somebody who did not let go
// of it in order, when it is let go with inputs that are not done, and when an app connects to a
// sidecar again. A test whose scenario loses commits says so with [Lab.CommitsAreLost].
//
// # Rules for code under test
//
// A goroutine that waits for a sync.Mutex stops the bubble's clock. So a lock that is held across
// the network must be a channel; otherwise the test hangs, and the watchdog of Run ends it with the
// goroutines' stacks.
package lab
