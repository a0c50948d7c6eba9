package consumer

import (
	"math/bits"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"
)

// shareFetches has fetches bring a little of each partition, instead of much of a few. A poll takes
// what a fetch has of one partition before it comes to the next one, and a partition has room for
// donemeta.MaxSpan inputs that are not committed: of megabytes of small records, one or two
// partitions are full while the others have nothing in hand, and all wait for the outputs of those.
// Of large records a piece holds too few for that, and stays as large as it may. What the user's
// options say stays, of the whole fetch, too.
func (rd *reader) shareFetches(cl *kgo.Client) {
	n := rd.parts.count()
	if n == 0 || rd.cfg.usersPiece {
		return
	}
	if rd.shared.client != cl {
		whole, _ := cl.OptValue(kgo.FetchMaxBytes).(int32)
		rd.shared = fetchShares{client: cl, whole: whole}
	}
	if piece := min(max(rd.cfg.fetchPiece(n, rd.meanSize), rd.largest.piece(rd.cfg)), rd.shared.whole); piece != rd.shared.piece {
		rd.shared.piece = piece
		cl.UpdateFetchMaxBytes(rd.shared.whole, piece)
	}
}

// noPiece is what the probe has where the user's options do not say how much of a partition a fetch
// brings: any other could be what a user says.
const noPiece = 1

const (
	mostShares   = 8   // smaller pieces are not worth a fetch
	pieceRecords = 256 // that a piece has room for, by their size in memory: in a fetch they are smaller
)

// fetchPiece is how much of a partition a fetch brings at most, of so many, with records of this
// mean size; 0: that is not known.
func (cfg *Config) fetchPiece(partitions int, meanSize int64) int32 {
	most := cfg.fetchMaxPartitionBytes()
	share := max(most/int32(min(partitions, mostShares)), 1)
	if meanSize <= 0 {
		return share
	}
	steps := bits.Len64(uint64(min(meanSize, int64(most))*pieceRecords) - 1) // to a power of two: not another piece with each poll
	return int32(max(min(int64(1)<<steps, int64(most)), int64(share)))
}

// firstPiece is before anything is known: what comes first finds a producer that is still
// connecting.
func (cfg *Config) firstPiece() int32 { return cfg.fetchPiece(mostShares, 0) }

// largestBatch is the size of the largest batches that came lately, as they were fetched. A broker
// gives a batch that is larger than a piece of the first partition only. It is a hook of the
// client.
type largestBatch struct{ bytes atomic.Int64 }

var _ kgo.HookFetchBatchRead = (*largestBatch)(nil)

// OnFetchBatchRead follows the size of batches: upwards at once, downwards slowly.
func (b *largestBatch) OnFetchBatchRead(_ kgo.BrokerMetadata, _ string, _ int32, m kgo.FetchBatchMetrics) {
	const head = 61 // of a batch
	size, now := int64(m.CompressedBytes)+head, b.bytes.Load()
	if size < now {
		size = now - (now-size)/64
	}
	if size != now {
		b.bytes.CompareAndSwap(now, size) // another one that came at the same time does as well
	}
}

// piece has room for two of them: what lies behind the last whole batch of a piece is fetched
// again, which brokers pay for. With CommitElsewhere it has room for one and a little more, since
// there a partition's room, and the time of a transaction, weigh more. In steps: not another piece
// with each batch.
func (b *largestBatch) piece(cfg *Config) int32 {
	const step = 64 << 10
	n, most := b.bytes.Load(), int64(cfg.fetchMaxPartitionBytes())
	if n *= 2; cfg.CommitElsewhere {
		n = n / 8 * 5
	}
	return int32(min((n+step-1)/step*step, most))
}

// fetchShares is what shareFetches has set.
type fetchShares struct {
	client *kgo.Client
	whole  int32 // of a fetch
	piece  int32 // 0: nothing yet
}
