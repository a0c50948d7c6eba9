package lab

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/proof/judge"
	"github.com/ackmark/ackmark/internal/proof/verify"
	"github.com/ackmark/ackmark/internal/proof/verify/reader"
	"github.com/ackmark/ackmark/sidecar"
)

// transactionalID is that of every sidecar: one follows the other. Apps with a producer of their
// own have it with their names.
const transactionalID = "lab"

// Transactions time out after this, and a few milliseconds that tell who took a transactional id.
const transactionTimeout = 10 * time.Second

// nextTimeout is a time-out of transactions that nobody else has.
func (l *Lab) nextTimeout() time.Duration {
	l.timeouts++
	return transactionTimeout + time.Duration(l.timeouts)*time.Millisecond
}

// transactionsEnd is how long those may be open whose process is dead, and has no successor.
func (l *Lab) transactionsEnd() time.Duration {
	if !l.cfg.ExactlyOnce {
		return 0
	}
	return transactionTimeout + 2*time.Second
}

// taker names who takes a transactional id by its time-out.
func taker(req *kmsg.InitProducerIDRequest) string {
	return fmt.Sprintf("who has a time-out of %d ms", req.TransactionTimeoutMillis)
}

// transactions gives a sidecar those.
func (l *Lab) transactions(cfg *sidecar.Config) {
	if l.cfg.ExactlyOnce && !l.cfg.Direct {
		cfg.TransactionalID, cfg.TransactionTimeout = transactionalID, l.nextTimeout()
	}
}

// ReplaceSidecar starts a sidecar under the same transactional id while the one before still runs,
// and goes on to serve the connections that it has: who connects now reaches the younger.
func (l *Lab) ReplaceSidecar() {
	if older := l.sidecar; older != nil {
		l.Note("a younger sidecar takes the place of the one that runs")
		l.forgotten()
		older.host.net.forget(sidecarPort)
		l.gone = append(l.gone, older)
		l.sidecar = nil
	}
	l.StartSidecar()
}

// forget lets another host listen on a port. What was connected stays so.
func (n *network) forget(port string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.listeners, port)
}

// SidecarEnded tells that the sidecar has ended by itself, and with what.
func (l *Lab) SidecarEnded() (bool, error) {
	if p := l.sidecar; p != nil {
		select {
		case <-p.ended:
			return true, p.err
		default:
		}
	}
	return false, nil
}

// restartSidecar does what a supervisor does with a sidecar that has ended by itself.
func (l *Lab) restartSidecar() {
	if ended, err := l.SidecarEnded(); ended {
		l.Note("the sidecar has ended by itself: %v", err)
		l.KillSidecar()
		l.StartSidecar()
	}
}

// DieAt ends the sidecar as SIGKILL does at the n-th request of a kind from now on, by whomever,
// before the broker serves that, or after it and before its answer is read: nobody knows. It
// returns what tells that it has happened; then call KillSidecar.
func (l *Lab) DieAt(key kmsg.Key, n int) (happened func() bool) {
	p := l.sidecar
	if p == nil {
		return func() bool { return false }
	}
	l.Note("the sidecar will die at %v number %d", key, n)
	l.atRequest(key, func() (over bool) {
		if n--; n > 0 {
			return false
		}
		l.log.printf("the sidecar dies at %v", key)
		p.dead.Store(true)
		p.host.kill()
		return true
	})
	return p.dead.Load
}

// atRequest calls fn for each request of a kind, before the broker serves it, until fn returns
// true.
func (l *Lab) atRequest(key kmsg.Key, fn func() (over bool)) {
	l.Cluster.ControlKey(int16(key), func(kmsg.Request) (kmsg.Response, error, bool) {
		if fn() {
			l.Cluster.DropControl()
		}
		return nil, nil, false
	})
}

// LoseReplies breaks the sidecar's connections to the brokers at each of the next n requests of a
// kind: they are served, and nobody hears of it.
func (l *Lab) LoseReplies(key kmsg.Key, n int) {
	p := l.sidecar
	if p == nil {
		return
	}
	l.Note("the answers to the next %d %v are lost", n, key)
	l.atRequest(key, func() (over bool) {
		l.log.printf("the answer to %v is lost", key)
		p.host.link(toBrokers).reset()
		n--
		return n == 0
	})
}

// readCommitted judges what an independent reader of committed records sees at the end: each output
// once, or one dead letter instead.
func (j *job) readCommitted() {
	l := j.l
	if !l.cfg.ExactlyOnce || l.mixed() {
		return
	}
	g := <-l.feeder.turn
	fed := g.Made()
	l.feeder.turn <- g
	ctx, cancel := l.context()
	defer cancel()
	opts := append(l.options(l.host("reader")), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	letters := new(judge.Set)
	if l.cfg.DeadLetter {
		l.read(ctx, opts, j.dead, func(r *kgo.Record) {
			if id, err := verify.Parse(r.Value); err == nil && !letters.Add(id.Global) {
				l.problem("a reader of committed records sees two dead letters of input %v", id)
			}
		})
	}
	expect := l.cfg.Expect
	if expect == nil {
		expect = func(uint64) int { return max(1, l.cfg.PerInput) }
	}
	seen := verify.NewOutputs(verify.OutputsConfig{
		Name: j.group + ", a reader of committed records", Inputs: fed, PerInput: max(1, l.cfg.PerInput), Expect: func(id uint64) int {
			if letters.Has(id) {
				return 0
			}
			return expect(id)
		},
	})
	l.read(ctx, opts, j.out, func(r *kgo.Record) { seen.Add(r.Partition, r.Offset, r.Key, r.Value) })
	if err := seen.Result().Violations(0).Err(); err != nil {
		l.problem("%v", err)
	}
}

func (l *Lab) read(ctx context.Context, opts []kgo.Opt, topic string, fn func(*kgo.Record)) {
	if err := reader.Topic(ctx, opts, topic, fn); err != nil {
		l.problem("a reader of committed records: %v", err)
	}
}

// mixed tells that some apps were at-least-once: they may repeat.
func (l *Lab) mixed() bool {
	return slices.ContainsFunc(l.apps, func(a *App) bool { return a.as.AtLeastOnce })
}
