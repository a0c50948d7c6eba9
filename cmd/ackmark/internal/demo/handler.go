package demo

import (
	"context"
	"hash/crc32"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// idHeader carries an input's position (0, 1, 2 …) to its output: lines may repeat, so their bytes
// do not tell them apart.
const idHeader = "demo-id"

func idOf(headers []kgo.RecordHeader) (int, bool) {
	for i := range headers {
		if headers[i].Key == idHeader {
			id, err := strconv.Atoi(string(headers[i].Value))
			return id, err == nil && id >= 0
		}
	}
	return 0, false
}

// transform is the handler of both sides: ASCII letters to upper case, every other byte unchanged,
// so that any bytes may be fed.
func transform(value []byte) []byte {
	out := make([]byte, len(value))
	for i, c := range value {
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		out[i] = c
	}
	return out
}

// work is the simulated work of both sides.
func work(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(value []byte) uint32 { return crc32.Checksum(value, castagnoli) }
