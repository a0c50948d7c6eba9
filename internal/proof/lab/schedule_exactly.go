package lab

import (
	"math/rand/v2"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/sidecar"
)

// RandomExactly draws a pod that is exactly-once from a seed, three in four with a sidecar.
func RandomExactly(seed uint64) Config {
	cfg := RandomConfig(seed)
	cfg.ExactlyOnce = true
	r := rand.New(rand.NewPCG(seed, 0x5e5))
	cfg.Groups = 1 + r.IntN(3)/2 // one in three has two
	every := []time.Duration{5 * time.Millisecond, 20 * time.Millisecond, 100 * time.Millisecond, 500 * time.Millisecond}[r.IntN(4)]
	inHand := []int{0, 0, 602, 4000}[r.IntN(4)] // with so few there is no room for what is done above a mark, and partitions begin anew
	cfg.Sidecar = func(s *sidecar.Config) {
		s.CommitEvery = every
		if inHand > 0 {
			s.MaxRecords = inHand
		}
	}
	app := cfg.App
	cfg.App = func(p *pipeline.Config) {
		app(p)
		p.Consumer.CommitAfter = 0 // it commits nothing
	}
	return cfg
}

// transactionEvent is what happens to a sidecar's transactions.
func (s *schedule) transactionEvent() {
	l := s.l
	switch l.Rand.IntN(3) {
	case 0:
		l.LoseReplies(transactionKeys[l.Rand.IntN(len(transactionKeys))], 1+l.Rand.IntN(3))
	case 1:
		happened := l.DieAt(transactionKeys[l.Rand.IntN(len(transactionKeys))], 1+l.Rand.IntN(8))
		for range 20 {
			if happened() {
				break
			}
			s.sleep(100 * time.Millisecond)
		}
		l.KillSidecar()
		s.later(l.StartSidecar)
	case 2:
		l.ReplaceSidecar()
	}
}

// transactionKeys are the requests that a transaction is made of.
var transactionKeys = []kmsg.Key{kmsg.Produce, kmsg.TxnOffsetCommit, kmsg.EndTxn}

// transactionLies are what brokers answer to transactions, applied or not.
var transactionLies = []kfake.Fault{
	{Keys: []kmsg.Key{kmsg.Produce}, Topic: Out, Err: kerr.ConcurrentTransactions},
	{Keys: []kmsg.Key{kmsg.Produce}, Topic: Out, Err: kerr.TransactionAbortable},
	{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Group: Group, Err: kerr.ConcurrentTransactions},
	{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Group: Group, Err: kerr.CoordinatorLoadInProgress},
	{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Group: Group, Err: kerr.NotCoordinator},
	{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Group: Group, Err: kerr.IllegalGeneration},
	{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Group: Group, Err: kerr.UnknownMemberID},
	{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Group: Group, Err: kerr.RebalanceInProgress},
	{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Group: Group, Err: kerr.TransactionAbortable},
	{Keys: []kmsg.Key{kmsg.EndTxn}, Err: kerr.ConcurrentTransactions},
	{Keys: []kmsg.Key{kmsg.EndTxn}, Err: kerr.CoordinatorLoadInProgress},
	{Keys: []kmsg.Key{kmsg.EndTxn}, Err: kerr.NotCoordinator},
	{Keys: []kmsg.Key{kmsg.EndTxn}, Err: kerr.TransactionAbortable},
	{Keys: []kmsg.Key{kmsg.EndTxn}, Err: kerr.RequestTimedOut},
}

func (s *schedule) transactionFault() {
	f := transactionLies[s.l.Rand.IntN(len(transactionLies))]
	if f.Err == kerr.IllegalGeneration && s.l.cfg.Protocol == consumer.ConsumerProtocol {
		f.Err = kerr.StaleMemberEpoch
	}
	f.Count = 1 + s.l.Rand.IntN(6)
	s.l.Fault(f)
}
