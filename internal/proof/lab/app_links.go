package lab

import "time"

// CutBrokers resets the app's connections to the brokers and refuses new ones, until HealBrokers.
func (a *App) CutBrokers() {
	a.l.Note("cut %s from the brokers", a.Name)
	a.host.link(toBrokers).cut()
}

// BlackholeBrokers loses whatever passes between app and brokers, until HealBrokers: it arrives
// then, where the connection still stands.
func (a *App) BlackholeBrokers() {
	a.l.Note("blackhole between %s and the brokers", a.Name)
	a.host.link(toBrokers).blackhole(true, true)
}

// HealBrokers makes that link a good one.
func (a *App) HealBrokers() {
	a.l.Note("heal %s–brokers", a.Name)
	a.host.link(toBrokers).heal()
}

// CutSidecar resets the app's connection to the sidecar and refuses new ones, until HealSidecar.
func (a *App) CutSidecar() {
	a.l.Note("cut %s from the sidecar", a.Name)
	a.job.checker.CutOff(a.Name, true)
	a.host.link(toSidecar).cut()
}

// BlackholeSidecar loses whatever passes between app and sidecar, until HealSidecar.
func (a *App) BlackholeSidecar() {
	a.l.Note("blackhole between %s and the sidecar", a.Name)
	a.job.checker.CutOff(a.Name, true)
	a.host.link(toSidecar).blackhole(true, true)
}

// HalfOpenSidecar loses one direction: what the app sends, or what the sidecar answers.
func (a *App) HalfOpenSidecar(up bool) {
	a.l.Note("half-open between %s and the sidecar (up=%v)", a.Name, up)
	a.job.checker.CutOff(a.Name, true)
	a.host.link(toSidecar).blackhole(up, !up)
}

// SlowBrokers and SlowSidecar delay everything on a link, one way by so much.
func (a *App) SlowBrokers(d time.Duration) { a.host.link(toBrokers).slow(d) }

// SlowSidecar is SlowBrokers for the other link.
func (a *App) SlowSidecar(d time.Duration) { a.host.link(toSidecar).slow(d) }

// HealSidecar makes that link a good one.
func (a *App) HealSidecar() {
	a.l.Note("heal %s–sidecar", a.Name)
	a.host.link(toSidecar).heal()
	a.job.checker.CutOff(a.Name, false)
}

// BreakStream resets the app's connections to the sidecar; it may come back at once.
func (a *App) BreakStream() {
	a.l.Note("break the stream of %s", a.Name)
	a.host.link(toSidecar).reset()
}
