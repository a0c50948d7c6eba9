package txn

import "time"

// PauseForSuccessor sets how long a successor may take between its two steps. Before Start.
func (l *Lane) PauseForSuccessor(d time.Duration) { l.ids.takePause = d }

// KeepEvery sets how often ids that are not used are taken again. Before Start.
func (l *Lane) KeepEvery(d time.Duration) { l.ids.keepEvery = d }

// BareWait sets how long one id without a client is waited for before something else is tried.
// Before Start.
func (l *Lane) BareWait(d time.Duration) { l.ids.bareWait = d }

// GraceOfClose sets how long Close waits for the end of the last transaction. Before Start.
func (l *Lane) GraceOfClose(d time.Duration) { l.grace = d }

// AwayAfter is how long one group's offsets hold up the others.
const AwayAfter = awayAfter

// StaleHolders are those whose generation was refused. Once the lane is closed.
func (l *Lane) StaleHolders() int { return len(l.backlog.parked.stale) }
