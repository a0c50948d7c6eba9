package consumer

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/lifecycle"
)

// group is this member's place in the group: who it is, what it holds there, and what waits. The
// client's group goroutine calls it at every rebalance.
type group struct {
	cfg      *Config
	log      *slog.Logger
	life     *lifecycle.Life
	troubles *troubles
	brokers  *brokers
	parts    *held
	around   *surroundings // of partitions that begin
	survey   *survey
	commits  *committer
	file     *sessionFile

	hookMu     chanMutex
	announcing chanMutex                  // behind hookMu
	current    atomic.Pointer[Membership] // nil: none
	identity   identity
	joins      atomic.Bool                       // its first join was told of
	owned      map[topicPartition]bool           // what the client holds for us: true once its assignment began; under hookMu
	again      map[topicPartition]lostAssignment // of partitions that were lost and did not come back yet; under hookMu
	found      map[topicPartition]found          // what the group has, of the answer that the next assignments begin from; under hookMu
	waiting    waiting                           // partitions that are ours and cannot be read yet

	fenceKick chan struct{}
	fencedBy  atomic.Pointer[error]
	left      bool // the group, at the end, or it does not know this member
}

func newGroup(cfg *Config, log *slog.Logger, b *brokers, parts *held, s *survey, commits *committer) *group {
	return &group{
		cfg: cfg, log: log, brokers: b, parts: parts, survey: s, commits: commits,
		hookMu: newChanMutex(), announcing: newChanMutex(), identity: identity{number: consumers.Add(1)},
		owned: map[topicPartition]bool{}, again: map[topicPartition]lostAssignment{}, found: map[topicPartition]found{},
		waiting:   waiting{parts: map[topicPartition]*waiter{}, kick: make(chan struct{}, 1)},
		fenceKick: make(chan struct{}, 1),
	}
}

// onAssigned runs after every join, before the offsets of added partitions are known. They become
// assignments in onOffsets.
func (g *group) onAssigned(ctx context.Context, cl *kgo.Client, added map[string][]int32) {
	// Before the lock: a shutdown holds it while it waits, with its last commit, for this very join
	// to be over.
	if g.life.Closing() && !g.replaced(cl) && g.current.Load() != nil {
		g.announceNewer(ctx, cl)
		g.refreshMembership(cl)
		g.commits.joined()
	}
	g.identity.learn(ctx, cl)
	g.hookMu.Lock()
	defer g.hookMu.Unlock()
	g.commits.joined()
	wake(g.commits.commitKick)
	if g.replaced(cl) {
		g.lose("the group took this member for a new one")
	}
	for topic, ids := range added {
		for _, id := range ids {
			g.owned[topicPartition{topic, id}] = false
		}
	}
	g.refreshMembership(cl)
	g.survey.takeInventory(ctx, cl)
	if held := len(g.parts.all()); len(added) == 0 || held > 0 {
		g.callAssigned(ctx, nil)
	}
	if stranded := g.stranded(); len(stranded) > 0 && !g.life.Closing() {
		g.reacquire(ctx, cl, unknown(stranded))
	}
}

// replaced tells that the client got another member id while partitions were held: the coordinator
// forgot the old member between a heartbeat and a join, and the client went on silently. Others may
// have held, advanced and committed those partitions meanwhile, so what we hold of them is lost,
// although the client believes that it kept them (S2).
func (g *group) replaced(cl *kgo.Client) bool {
	m := g.current.Load()
	id, _ := cl.GroupMetadata()
	return m != nil && m.MemberID != id && len(g.parts.all()) > 0
}

// stranded lists partitions that the group assigns to us, that the client reads on where it stood,
// and whose assignment we ended because the membership was doubtful. The client reads no committed
// offset for what it never gave up, so nobody else would take them up (S10).
func (g *group) stranded() []topicPartition {
	var all []topicPartition
	for tp, begun := range g.owned {
		if begun && g.parts.find(tp.topic, tp.partition) == nil && !g.waiting.has(tp) {
			all = append(all, tp)
		}
	}
	return all
}

// ousted is told that the broker refused a commit: the membership that it was made under is over.
func (g *group) ousted(by *Membership, err error) {
	g.hookMu.Lock()
	defer g.hookMu.Unlock()
	// The callbacks may have been faster: then the error is about a membership that is gone
	// already, and the one that followed is sound.
	if m := g.current.Load(); m != nil && by != nil && *m == *by {
		g.lose(err.Error())
		g.joinAgainNow(g.brokers.client.Load()) // the join finds out who we are; onAssigned takes the partitions up again
	}
}

// joinAgain makes the client join once more, a little later.
func (g *group) joinAgain(cl *kgo.Client) {
	select {
	case <-g.life.Context().Done():
	case <-time.After(time.Second):
		g.joinAgainNow(cl)
	}
}

func (g *group) refreshMembership(cl *kgo.Client) {
	id, generation := cl.GroupMetadata()
	m := &Membership{Group: g.cfg.Group, MemberID: id, Generation: generation, InstanceID: g.cfg.InstanceID,
		Protocol: g.brokers.protocol, ClusterID: g.identity.clusterID(), Consumer: g.identity.number}
	g.file.joined(m)
	g.current.Store(m)
	g.troubles.joined()
}

// callAssigned tells who follows the assignments. That the client's next rebalance has begun must
// not keep it from them.
func (g *group) callAssigned(ctx context.Context, added []*Assignment) {
	ctx = context.WithoutCancel(ctx)
	if m := g.current.Load(); g.cfg.Hooks.Assigned != nil && m != nil { // nil: lost meanwhile, while a shutdown begins
		g.cfg.Hooks.Assigned(ctx, *m, added)
	}
}

// onRevoked runs when partitions leave in good order: the member is still in the group and may
// commit. It also runs, with nothing, before every join.
func (g *group) onRevoked(ctx context.Context, cl *kgo.Client, revoked map[string][]int32) {
	g.commits.joined() // no callback runs during a join
	defer g.commits.holdCommits()
	if len(revoked) == 0 {
		return
	}
	for _, p := range g.parts.of(revoked) {
		p.stopped.Store(true)
	}
	if g.life.Closing() {
		g.announceNewer(ctx, cl) // before the lock, as in onAssigned
	}
	g.hookMu.Lock()
	defer g.hookMu.Unlock()
	for topic, ids := range revoked {
		for _, id := range ids {
			delete(g.owned, topicPartition{topic, id})
			g.noLonger(cl, []topicPartition{{topic, id}})
		}
	}
	if g.replaced(cl) {
		g.lose("the group took this member for a new one")
		return
	}
	g.announceNewer(ctx, cl)
	if err := g.letGo(g.parts.of(revoked), ErrRevoked); err != nil {
		g.log.Warn("partitions were revoked before their inputs were done", "err", err)
	}
}

// onLost runs when the membership is gone. Everything held is fenced first, before any lock that a
// drain may hold.
func (g *group) onLost(_ context.Context, cl *kgo.Client, _ map[string][]int32) {
	for _, p := range g.parts.all() {
		p.fence(ErrLost)
	}
	g.hookMu.Lock()
	defer g.hookMu.Unlock()
	clear(g.owned)
	g.noLonger(cl, g.waiting.all())
	g.lose("the membership was lost")
	g.commits.holdCommits()
}

// clientOptions are the callbacks of the client.
func (g *group) clientOptions() []kgo.Opt {
	return []kgo.Opt{
		kgo.OnPartitionsAssigned(g.onAssigned), kgo.OnPartitionsRevoked(g.onRevoked), kgo.OnPartitionsLost(g.onLost),
		kgo.OnOffsetsFetched(g.onFetched), kgo.AdjustFetchOffsetsFn(g.onOffsets), kgo.WithHooks(g.file, joining{g}),
	}
}
