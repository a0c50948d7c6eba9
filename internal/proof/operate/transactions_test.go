package operate_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/devbroker"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/sidecar"
)

// sickness is what a broker has against transactions, by the kind of request.
type sickness struct{ init, offsets, end atomic.Int32 }

// How often a request is refused: never, now and then, always.
const (
	well int32 = iota
	atTimes
	always
)

// infect has the broker answer as s says.
func (s *sickness) infect(kafka *kfake.Cluster) {
	var n [3]int // the broker's goroutine's
	of := func(i int, how *atomic.Int32, every int) bool {
		n[i]++
		return how.Load() == always || how.Load() == atTimes && n[i]%every == 0
	}
	kafka.ControlKey(int16(kmsg.InitProducerID), func(req kmsg.Request) (kmsg.Response, error, bool) {
		kafka.KeepControl()
		if !of(0, &s.init, 2) {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.InitProducerIDResponse)
		resp.ErrorCode = kerr.NotCoordinator.Code
		return resp, nil, true
	})
	kafka.ControlKey(int16(kmsg.TxnOffsetCommit), func(req kmsg.Request) (kmsg.Response, error, bool) {
		kafka.KeepControl()
		if !of(1, &s.offsets, 2) {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.TxnOffsetCommitResponse)
		for _, t := range req.(*kmsg.TxnOffsetCommitRequest).Topics {
			rt := kmsg.NewTxnOffsetCommitResponseTopic()
			rt.Topic, rt.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				rp := kmsg.NewTxnOffsetCommitResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p.Partition, kerr.UnknownServerError.Code
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	})
	kafka.ControlKey(int16(kmsg.EndTxn), func(req kmsg.Request) (kmsg.Response, error, bool) {
		kafka.KeepControl()
		if !req.(*kmsg.EndTxnRequest).Commit || !of(2, &s.end, 5) {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.EndTxnResponse)
		resp.ErrorCode = kerr.UnknownServerError.Code
		return resp, nil, true
	})
}

// The alerts of transactions in a real Prometheus: a coordinator that does not let the id be taken,
// refuses offsets and ends now and then, and then all of them. Each fires, and resolves when the
// broker is well. Every query of the dashboard about transactions answers. That two processes have
// one id is not done here: promtool's tests have it.
func TestPrometheusAndTransactions(t *testing.T) {
	tool(t, "prometheus")
	if testing.Short() {
		t.Skip("a minute: nothing is committed for half a minute")
	}
	kafka := startKafka(t)
	devbroker.ValidateTransactions(kafka)
	sick := new(sickness)
	sick.infect(kafka)
	sick.init.Store(always)
	x := startPod(t, kafka, func(s *sidecar.Config, p *pipeline.Config) {
		s.TransactionalID, s.CommitEvery, s.TransactionTimeout = "orders-0", 50*time.Millisecond, 5*time.Second
		p.Mode, p.Consumer.CommitEvery = pipeline.ExactlyOnce, 0
	})
	p := startPrometheus(t, map[string]string{"pod": x.address})
	p.awaitAll(true, "AckmarkTransactionalIDNotHeld")
	sick.init.Store(well)
	p.awaitAll(false, "AckmarkTransactionalIDNotHeld")
	p.await("a commit", func() bool {
		n, err := p.count(`ackmark_transactions_total{ackmark_outcome="committed"} > 0`)
		return err == nil && n > 0
	})

	sick.offsets.Store(atTimes)
	sick.end.Store(atTimes)
	p.awaitAll(true, "AckmarkTransactionsAborted", "AckmarkTransactionsUncertain")
	p.await("that the reason is told", func() bool {
		n, err := p.count(`ackmark_transaction_aborts_total{error_type="UNKNOWN_SERVER_ERROR"} > 0`)
		return err == nil && n > 0
	})
	t.Run("dashboard", func(t *testing.T) { p.answers(t, ofTransactions.MatchString) })
	sick.end.Store(well)
	sick.offsets.Store(always)
	p.awaitAll(true, "AckmarkTransactionStuck")
	p.awaitAll(false, "AckmarkTransactionsUncertain", "AckmarkTransactionsAborted")
	sick.offsets.Store(well)
	p.awaitAll(false, "AckmarkTransactionStuck")
}
