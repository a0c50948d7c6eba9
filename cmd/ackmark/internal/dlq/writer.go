package dlq

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/letters"
)

const (
	// transactionLimit is how long a transaction may stay open: what a killed process leaves holds
	// back committed reads of its topics for so long, unless the command is run again before.
	transactionLimit = 15 * time.Second
	// maxBatch bounds what the client puts into one batch: the topic's limit decides, which the
	// broker knows.
	maxBatch = 64 << 20
)

// ErrFenced is that another process moves the same position.
var ErrFenced = errors.New("another redrive or discard of this topic and group has begun, or a transaction took longer than " + transactionLimit.String())

// writer writes letters and the position, both or neither.
type writer struct {
	client *kgo.Client
	txn    string
	group  string
	topic  *Topic
}

// newWriter fences those before: what they left open is aborted when it returns.
func newWriter(ctx context.Context, t *Topic, opts []kgo.Opt) (*writer, error) {
	// The group's offsets are added to the transaction by requests of our own, in the protocol that
	// all brokers from 2.5 on speak; so the client, too, has to stay with the transactions of that
	// protocol (no KIP-890, in which a commit changes the producer's epoch).
	versions := kversion.Stable()
	versions.SetMaxKeyVersion(kmsg.Produce.Int16(), 11)
	versions.SetMaxKeyVersion(kmsg.EndTxn.Int16(), 4)
	versions.SetMaxKeyVersion(kmsg.TxnOffsetCommit.Int16(), 4)
	client, err := kgo.NewClient(append(opts,
		kgo.TransactionalID(t.Group), kgo.TransactionTimeout(transactionLimit), kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchMaxBytes(maxBatch), kgo.ProducerLinger(0), kgo.MaxVersions(versions))...)
	if err != nil {
		return nil, err
	}
	w := &writer{client: client, txn: t.Group, group: t.Group, topic: t}
	if _, _, err := client.ProducerID(ctx); err != nil {
		client.Close()
		return nil, w.explain("begin", err)
	}
	return w, nil
}

func (w *writer) close() { w.client.Close() }

// write writes records and the position of their partition, or, with an error, neither: unless the
// error is of the last step, when only reading the position tells.
func (w *writer) write(ctx context.Context, records []*kgo.Record, positions map[int32]letters.Position) error {
	if len(records) > 0 {
		if err := w.client.BeginTransaction(); err != nil {
			return w.explain("begin", err)
		}
		if err := w.client.ProduceSync(ctx, records...).FirstErr(); err != nil {
			return w.abort(ctx, w.explain("write letters", err))
		}
	}
	if err := w.commitOffsets(ctx, positions); err != nil {
		return w.abort(ctx, w.explain("commit the position", err))
	}
	if err := w.end(ctx, len(records) > 0); err != nil {
		return w.explain("end the transaction", err)
	}
	return nil
}

func (w *writer) abort(ctx context.Context, why error) error {
	// What remains open is aborted by the next one's beginning, or by its time limit.
	if err := w.client.AbortBufferedRecords(ctx); err != nil {
		return errors.Join(why, err)
	}
	if err := w.client.EndTransaction(ctx, kgo.TryAbort); err != nil {
		return errors.Join(why, err)
	}
	return why
}

// end commits. The client ends only transactions in which it has produced.
func (w *writer) end(ctx context.Context, produced bool) error {
	if produced {
		return w.client.EndTransaction(ctx, kgo.TryCommit)
	}
	req := kmsg.NewPtrEndTxnRequest()
	id, epoch, err := w.client.ProducerID(ctx)
	if err != nil {
		return err
	}
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = w.txn, id, epoch, true
	resp, err := req.RequestWith(ctx, w.client)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(resp.ErrorCode)
}

// commitOffsets makes the position part of the transaction.
func (w *writer) commitOffsets(ctx context.Context, positions map[int32]letters.Position) error {
	id, epoch, err := w.client.ProducerID(ctx)
	if err != nil {
		return err
	}
	add := kmsg.NewPtrAddOffsetsToTxnRequest()
	add.TransactionalID, add.ProducerID, add.ProducerEpoch, add.Group = w.txn, id, epoch, w.group
	if err := untilReady(ctx, func() error {
		added, err := add.RequestWith(ctx, w.client)
		if err != nil {
			return err
		}
		return kerr.ErrorForCode(added.ErrorCode)
	}); err != nil {
		return err
	}
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Group, req.Generation = w.txn, id, epoch, w.group, -1
	topic := kmsg.NewTxnOffsetCommitRequestTopic()
	topic.Topic = w.topic.Name
	for i, at := range positions {
		p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
		offset, leaderEpoch, metadata, ok := at.Commit(w.topic.id)
		if !ok {
			return fmt.Errorf("the done-set of partition %d is too large", i)
		}
		p.Partition, p.Offset, p.LeaderEpoch, p.Metadata = i, offset, leaderEpoch, &metadata
		topic.Partitions = append(topic.Partitions, p)
	}
	req.Topics = append(req.Topics, topic)
	return untilReady(ctx, func() error { return w.sendOffsets(ctx, req) })
}

func (w *writer) sendOffsets(ctx context.Context, req *kmsg.TxnOffsetCommitRequest) error {
	resp, err := req.RequestWith(ctx, w.client)
	if err != nil {
		return err
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return err
			}
		}
	}
	return nil
}

// untilReady tries again while a coordinator still ends the transaction before, or loads, for as
// long as a transaction may be open and its end may take.
func untilReady(ctx context.Context, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, 2*transactionLimit)
	defer cancel()
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		err := try()
		if e, ok := errors.AsType[*kerr.Error](err); !ok || !e.Retriable {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
		}
	}
}

// explain says what a failure means, and what helps.
func (w *writer) explain(what string, err error) error {
	switch {
	case errors.Is(err, kerr.ProducerFenced), errors.Is(err, kerr.InvalidProducerEpoch), errors.Is(err, kerr.InvalidTxnState), errors.Is(err, kerr.InvalidProducerIDMapping):
		return fmt.Errorf("%s: %w (%w); what was not committed was not written: run it again to go on", what, ErrFenced, err)
	case errors.Is(err, kerr.TransactionalIDAuthorizationFailed):
		return fmt.Errorf("%s: %w; allow Write and Describe on the transactional id %q", what, err, w.txn)
	case errors.Is(err, kerr.GroupAuthorizationFailed):
		return fmt.Errorf("%s: %w; allow Read on the group %q", what, err, w.group)
	case errors.Is(err, kerr.TopicAuthorizationFailed):
		return fmt.Errorf("%s: %w; allow Read on %s, and Write on the topics that letters go back to", what, err, w.topic.Name)
	}
	return fmt.Errorf("%s: %w", what, err)
}
