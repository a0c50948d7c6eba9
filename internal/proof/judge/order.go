package judge

import "github.com/ackmark/ackmark/internal/sentinel"

// Order remembers for each key the highest place whose output was seen, and in which partition the
// key lives. The zero value has seen nothing.
type Order struct{ keys []keyState }

type keyState struct {
	last      uint64 // highest place seen + 1; 0: none
	partition int32
}

// maxKeys bounds the slice against a damaged key number; keys above it are not checked.
const maxKeys = 1 << 26

// First notes the first occurrence of an output. It is in order if no output of a later place of
// its key was seen.
func (o *Order) First(key uint32, place uint64, partition int32) (inOrder, samePartition bool) {
	if key >= maxKeys {
		return true, true
	}
	if n := int(key) + 1; n > len(o.keys) {
		o.keys = append(o.keys, make([]keyState, n-len(o.keys))...)
	}
	k := &o.keys[key]
	if k.last == 0 {
		k.partition = partition
	}
	inOrder = !sentinel.IsInverted(place, k.last)
	k.last = max(k.last, place+1)
	return inOrder, k.partition == partition
}

// Home is the partition of a key whose outputs were seen.
func (o *Order) Home(key uint32) int32 { return o.keys[key].partition }
