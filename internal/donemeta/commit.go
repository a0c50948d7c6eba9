package donemeta

import "iter"

// MaxCommit bounds one OffsetCommit. A broker writes it to __consumer_offsets as one batch, and refuses all of it with UNKNOWN_SERVER_ERROR
// above that topic's max.message.bytes, 1,048,588 by default. Half of that leaves room for a broker with less.
const MaxCommit = 512 << 10

// commitOverhead is what a partition takes in that batch beside its names and metadata: record, key and value.
const commitOverhead = 96

// CommitSize is what one partition's commit takes in the batch, at most.
func CommitSize(group, topic, metadata string) int {
	return len(group) + len(topic) + len(metadata) + commitOverhead
}

// Commits cuts what is to be committed into requests that a broker takes, in order. One that is too large alone goes alone: the broker's verdict is
// about it then, and not about the others.
func Commits[T any](all []T, size func(*T) int) iter.Seq[[]T] {
	return func(yield func([]T) bool) {
		first, sum := 0, 0
		for i := range all {
			n := size(&all[i])
			if i > first && sum+n > MaxCommit {
				if !yield(all[first:i:i]) {
					return
				}
				first, sum = i, 0
			}
			sum += n
		}
		if first < len(all) {
			yield(all[first:])
		}
	}
}
