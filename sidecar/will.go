package sidecar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ackmark/ackmark/internal/lastwill"
	"github.com/ackmark/ackmark/internal/podstate"
	"github.com/ackmark/ackmark/internal/sentinel"
	"github.com/ackmark/ackmark/internal/telemetry"
	"github.com/ackmark/ackmark/sidecar/internal/apps"
	"github.com/ackmark/ackmark/sidecar/internal/assigned"
	"github.com/ackmark/ackmark/sidecar/internal/brokers"
	"github.com/ackmark/ackmark/sidecar/internal/flows"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// wills waits for clients that are gone, and executes the wills of those that do not come back.
type wills struct {
	log      *slog.Logger
	times    *times
	sessions *table
	brokers  *brokers.Brokers
	stats    willStats
	watch    *sentinel.Watch

	life    context.Context // ends when the sidecar stops
	stop    context.CancelFunc
	waiting sync.WaitGroup // for clients, and for wills of others
}

func newWills(cfg *Config, t *times, sessions *table, b *brokers.Brokers, watch *sentinel.Watch, m *metrics) *wills {
	w := &wills{watch: watch, log: cfg.Logger, times: t, sessions: sessions, brokers: b}
	w.stats.took = m.part.Histogram(telemetry.WillTime)
	w.life, w.stop = context.WithCancel(context.Background())
	return w
}

// follow sees to a session whose stream broke, for the so-many-th time.
func (w *wills) follow(sess *session, breaks int) {
	w.waiting.Go(func() { w.outlive(sess, breaks) })
}

// willStats counts what wills did, of all apps. fenced and resumed belong to the same story.
type willStats struct {
	running atomic.Int32

	executed, complete, partitions, units, repaired, fenced, resumed, superseded, refused atomic.Uint64

	took *telemetry.Recorder
}

// Why there is no will, or none for a membership.
const (
	skippedDraining = "draining"      // the client goes on with the next sidecar
	skippedLives    = "member_lives"  // another session speaks for the member
	skippedCluster  = "other_cluster" // its group is not in the sidecar's cluster
)

func (w *willStats) status() *sidecarpb.WillStatus {
	return &sidecarpb.WillStatus{
		Running: uint32(w.running.Load()), Executed: w.executed.Load(), Complete: w.complete.Load(), Partitions: w.partitions.Load(), Units: w.units.Load(),
		Repaired: w.repaired.Load(), Fenced: w.fenced.Load(), Resumed: w.resumed.Load(), Superseded: w.superseded.Load(), Refused: w.refused.Load(),
	}
}

// outcome is what became of a session whose stream did not come back.
type outcome struct {
	executed          bool // a will was
	took              time.Duration
	units, partitions int
	superseded        int   // memberships that the broker went on without
	refused           int   // memberships of another cluster
	gone              bool  // all of its groups were left
	err               error // why what is promised is not kept
}

// complete tells that nothing of it is done again.
func (l outcome) complete() bool { return l.err == nil }

// word is what the log calls it.
func (l outcome) word() string {
	switch {
	case l.complete():
		return flows.WillComplete
	case errors.Is(l.err, errStillOpen):
		return flows.WillLate
	case l.refused > 0:
		return flows.WillRefused
	case l.superseded > 0:
		return flows.WillSuperseded
	}
	return flows.WillFailed
}

// text is what it is called among the incidents.
func (l outcome) text(pid int32) string {
	text := fmt.Sprintf("process %d died: its will is %s, %d units finished, %d partitions committed", pid, l.word(), l.units, l.partitions)
	if l.err != nil {
		text += ": " + l.err.Error()
	}
	return text
}

func (w *willStats) count(app *flows.App, l outcome) {
	if !l.executed {
		return
	}
	w.units.Add(uint64(l.units))
	w.partitions.Add(uint64(l.partitions))
	w.superseded.Add(uint64(l.superseded))
	w.refused.Add(uint64(l.refused))
	if l.complete() {
		w.complete.Add(1)
	}
	app.Wills.Add(l.word(), 1)
	w.took.With(telemetry.Outcome.String(l.word())).Time(l.took)
	w.executed.Add(1)
}

// willSteps is how long the requests of a will may take when its units were late.
const willSteps = 5 * time.Second

// transactionPatience is how long the units of a dead process are waited for whose offsets are
// committed with them: after it they are given up, and their inputs are the next owner's.
const transactionPatience = 2 * time.Second

// lookEvery is how often a broken session's process is looked at.
const lookEvery = 5 * time.Millisecond

// outlive waits until the client of a broken session is back, and executes the will of one that
// does not come.
func (w *wills) outlive(sess *session, breaks int) {
	grace, living := sess.graces(w.times.grace())
	state := sess.awaitReturn(breaks, grace, living)
	if !state.over() || state.ended() {
		return
	}
	done := w.execute(sess, state == stateWill)
	if state == stateWill {
		sess.keepFile(w.life.Err() != nil) // the sidecar ended before the will did: its successor finds it
	}
	w.sessions.fence(sess)
	w.stats.count(sess.app.Counts, done) // last: who sees the count finds the session gone
}

// errStillOpen: what was received is not finished in time.
var errStillOpen = errors.New("units are still on their way to Kafka")

// execute finishes what a session received and, if its process is gone without Goodbye, commits for
// it and leaves its groups.
func (w *wills) execute(sess *session, withWill bool) outcome {
	begun := time.Now()
	w.stats.running.Add(1)
	defer w.stats.running.Add(-1)
	within := w.times.will()
	if withWill && sess.claims != nil {
		sess.claims.letGo()
		within = min(within, transactionPatience)
	}
	ctx, cancel := context.WithTimeout(w.life, within)
	defer cancel()
	quiet, open, before := sess.allFinished()
	var secured map[assigned.MemberKey]marks
	if withWill && open > 0 && sess.claims == nil && sess.process.ProvenDead() {
		secured = w.secure(ctx, sess, quiet)
	}
	var late error
	for _, ended := range append(before, quiet) {
		select {
		case <-ended:
		case <-ctx.Done():
			late = errStillOpen
		}
	}
	if late != nil {
		sess.claims.end() // nothing of it can become visible any more, but with its offset
	}
	if !withWill {
		sess.app.Counts.Skipped.Add(skippedDraining, 1)
		w.log.Info("session finished without its stream", "app", sess.app.Name, "session", sess.id, "units", open, "took", time.Since(begun), "err", late)
		return outcome{}
	}
	if late != nil && w.life.Err() == nil {
		// What is done is committed. The group is not left: its next owner would do again what may
		// still be written. The session timeout of the dead member gives those units some more
		// time, and after that a repeat is the smaller evil.
		ctx, cancel = context.WithTimeout(w.life, willSteps)
		defer cancel()
	}
	l := w.carryOut(ctx, sess, late, secured)
	l.units, l.took = open, time.Since(begun)
	log := w.log.Info
	if !l.complete() {
		log = w.log.Warn
	}
	log("will executed", "app", sess.app.Name, "session", sess.id, "pid", sess.peer.PID, "proven_dead", sess.process.ProvenDead(), "outcome", l.word(), "units", open,
		"partitions", l.partitions, "left", l.gone, "took", l.took, "err", l.err)
	w.sessions.told.Add(podstate.Incident{Time: time.Now(), Kind: podstate.Will, App: sess.app.Name, Session: alias(sess.id), Reason: l.text(sess.peer.PID)})
	return l
}

// carryOut executes the wills of all memberships of a session, after their first commits.
func (w *wills) carryOut(ctx context.Context, sess *session, late error, secured map[assigned.MemberKey]marks) outcome {
	l := outcome{executed: true, gone: true, err: late}
	for _, will := range sess.lastWills(w.log, w.watch) {
		if w.otherSpeaksFor(sess, will.Membership) {
			sess.app.Counts.Skipped.Add(skippedLives, 1)
			w.log.Info("no will for a membership that another session goes on with", "session", sess.id, "group", will.Group, "member", will.ID)
			continue
		}
		if err := w.sameCluster(ctx, will.Membership); err != nil {
			l.refused++
			sess.app.Counts.Skipped.Add(skippedCluster, 1)
			l.gone = false
			l.err = errors.Join(l.err, err)
			continue
		}
		will.Proven, will.Remain, will.Secured = sess.process.ProvenDead(), late != nil && sess.claims == nil, secured[will.MemberKey]
		did := will.Execute(ctx, w.brokers.Coordinator(w.life))
		w.stats.repaired.Add(uint64(did.Repaired))
		if did.Superseded != nil && len(will.Standings) > 0 {
			l.superseded++
			l.err = errors.Join(l.err, fmt.Errorf("group %q: %w", will.Group, did.Superseded))
		}
		l.partitions += did.Partitions
		l.gone = l.gone && did.Left
		l.err = errors.Join(l.err, did.Err)
	}
	return l
}

// marks are what was committed of partitions.
type marks map[lastwill.Partition]int64

// secure commits what is done while the last units are still on their way: the process may have
// joined a rebalance, and once that is over its generation is, too. It ends with the last unit, but
// never with a commit on its way (S3). It returns what was committed.
func (w *wills) secure(ctx context.Context, sess *session, quiet <-chan struct{}) map[assigned.MemberKey]marks {
	ctx, stop := context.WithCancel(ctx)
	var watch sync.WaitGroup
	defer watch.Wait()
	defer stop()
	watch.Go(func() {
		select {
		case <-quiet:
			stop()
		case <-ctx.Done():
		}
	})
	secured := make(map[assigned.MemberKey]marks)
	for _, will := range sess.lastWills(w.log, w.watch) {
		if will.ID == "" || w.otherSpeaksFor(sess, will.Membership) || w.sameCluster(ctx, will.Membership) != nil {
			continue
		}
		did := will.Secure(ctx, w.brokers.Coordinator(w.life))
		w.stats.repaired.Add(uint64(did.Repaired))
		if did.Err != nil && ctx.Err() == nil {
			w.log.Info("a will's first commit was refused; it goes on", "session", sess.id, "group", will.Group, "err", did.Err)
		}
		secured[will.MemberKey] = did.Committed
	}
	return secured
}

// otherSpeaksFor tells whether another session, which is not over, speaks for the same member: then
// its process is not dead, and commits itself.
func (w *wills) otherSpeaksFor(sess *session, m assigned.Membership) bool {
	for _, other := range w.sessions.all() {
		if other != sess && other.speaksFor(m) {
			return true
		}
	}
	return false
}

// fence notes that a stream was refused because its session is over, or another one's.
func (w *wills) fence(a *apps.App, id, why string) {
	w.stats.fenced.Add(1)
	a.Counts.Began.Add(flows.Fenced, 1)
	w.sessions.told.Add(podstate.Incident{Time: time.Now(), Kind: podstate.Fence, App: a.Name, Session: alias(id), Reason: why})
}

// fencePatience is how long a client waits to hear that its session is over: until the will is
// executed, if that is soon. Whoever hears it joins its group again, under the same member id, and
// the will would leave the group for the new membership.
const fencePatience = 3 * time.Second

// refuse ends a Hello for a session whose process was taken for dead.
func (w *wills) refuse(ctx context.Context, sess *session, why string) error {
	patience := time.NewTimer(fencePatience)
	defer patience.Stop()
	select {
	case <-sess.over:
	case <-w.life.Done():
	case <-ctx.Done():
	case <-patience.C:
		return status.Error(codes.Unavailable, "the will of this session is being executed: what was received is not in Kafka yet")
	}
	w.fence(sess.app, sess.id, why)
	return fencedStatus(why)
}
