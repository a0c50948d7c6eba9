package txn

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// bare is a transactional id without a producing client: windows that have no outputs commit their
// offsets under it, by requests alone. A Kafka client's own transaction has to have written
// something; and a plain OffsetCommit would fence nobody: one that a stopped process sends when it
// wakes would take the group back behind what its successor has committed.
type bare struct {
	producing
	aside <-chan error // as a twin's
	used  time.Time    // when its coordinator heard of it last
}

// takeBare takes the id, for ever.
func (d *ids) takeBare(ctx context.Context, b *bare) error {
	for {
		req := kmsg.NewPtrInitProducerIDRequest()
		req.TransactionalID, req.TransactionTimeoutMillis, req.ProducerID, req.ProducerEpoch = &b.id, int32(d.cfg.Timeout.Milliseconds()), -1, -1
		resp, err := req.RequestWith(ctx, d.plain)
		if err == nil {
			err = kerr.ErrorForCode(resp.ErrorCode)
		}
		if err == nil {
			b.pid, b.epoch, b.used = resp.ProducerID, resp.ProducerEpoch, time.Now()
			return nil
		}
		if err := d.afterInit(ctx, b.id, err); err != nil {
			return err
		}
	}
}

// endBare ends the transaction of a window without outputs. An error: its outcome is unknown.
func (d *ids) endBare(ctx context.Context, b *bare, commit bool) error {
	req := kmsg.NewPtrEndTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = b.id, b.pid, b.epoch, commit
	resp, err := req.RequestWith(ctx, d.plain)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil {
		return err
	}
	if resp.ProducerID < 0 || resp.ProducerID == b.pid && resp.ProducerEpoch == b.epoch {
		return fmt.Errorf("EndTxn of %q: the producer's epoch did not move: %w", b.id, errNoFeature)
	}
	b.moves(resp.ProducerID, resp.ProducerEpoch)
	b.used = time.Now()
	return nil
}

// maxLanes is how many lanes a process may have.
const maxLanes = 8

// sweep takes the ids of a predecessor with more lanes. What it has left open would hold readers
// back, and its offsets, until its transactions time out; and where it still runs, it is fenced as
// one with as many lanes is: twins first, then the ids without a client, and all are looked at
// after that.
func (d *ids) sweep(ctx context.Context) error {
	there := map[string]bool{}
	var twins, bares []string
	for k := d.cfg.Lanes; k < maxLanes; k++ {
		twins = append(twins, twinID(d.cfg.ID, 2*k), twinID(d.cfg.ID, 2*k+1))
		bares = append(bares, bareID(d.cfg.ID, k), bareID(d.cfg.ID, maxLanes+k))
	}
	all := append(twins, bares...)
	for asked := all; len(asked) > 0; {
		again, err := d.areThere(ctx, asked, there)
		if err != nil {
			return err
		}
		if asked = again; len(asked) > 0 && !d.sleep(ctx, initPause) {
			return context.Cause(ctx)
		}
	}
	for _, id := range all {
		if !there[id] {
			continue
		}
		b := &bare{producing: producing{id: id}}
		if err := d.takeBare(ctx, b); err != nil {
			return err
		}
		d.former = append(d.former, b)
	}
	return nil
}

// areThere notes which ids the coordinators know, and returns those that have to be asked for
// again.
func (d *ids) areThere(ctx context.Context, ids []string, there map[string]bool) (again []string, err error) {
	req := kmsg.NewPtrDescribeTransactionsRequest()
	req.TransactionalIDs = ids
	resp, err := req.RequestWith(ctx, d.plain)
	if err != nil {
		return ids, nil //nolint:nilerr // nobody has answered yet
	}
	for i := range resp.TransactionStates {
		s := &resp.TransactionStates[i]
		switch err := kerr.ErrorForCode(s.ErrorCode); {
		case errors.Is(err, kerr.TransactionalIDNotFound):
		case err != nil && !kerr.IsRetriable(err):
			return nil, d.cfg.setupError(s.TransactionalID, err)
		case err != nil:
			again = append(again, s.TransactionalID)
		default:
			there[s.TransactionalID] = true
		}
	}
	return again, nil
}

func twinID(id string, n int) string { return fmt.Sprintf("%s-%d", id, n) }
func bareID(id string, k int) string { return fmt.Sprintf("%s-o%d", id, k) }
