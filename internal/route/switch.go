package route

// Path is one of the two ways to Kafka.
type Path uint8

// The ways.
const (
	Sidecar Path = iota
	Direct
)

// Buckets is into how many parts keys are divided: one for each percent.
const Buckets = 100

// unkeyed is the bucket of all records without a key and a partition. They are one, because in a
// topic of one partition their order is seen, though Kafka promises none.
const unkeyed = Buckets

// NoPartition is that of a record that does not name its partition.
const NoPartition = -1

// Bucket is the part that a record belongs to. It is chosen by the key, by the same rule in every
// process and version: of a key all records go one way, whichever topic they are for. A record that
// names its partition is chosen by that: who does so may mean the order of the partition. A key
// that is empty is one; nil is none.
//
// It is not the murmur2 by which Kafka chooses partitions: a tenth of the keys would be those of a
// tenth of the partitions.
func Bucket(key []byte, partition int32) int {
	const basis, prime = 14695981039346656037, 1099511628211 // FNV-1a
	h := uint64(basis)
	switch {
	case partition != NoPartition:
		h = (h ^ uint64(uint32(partition))) * prime
	case key != nil:
		for _, b := range key {
			h = (h ^ uint64(b)) * prime
		}
	default:
		return unkeyed
	}
	// The low bits of FNV are weak: short keys that count up would not spread evenly.
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	h ^= h >> 33
	return int(h % Buckets)
}

// Switch is where a topic's two ways part: it says which way a record goes, and whether it may go
// yet. It is pure: no lock, clock or goroutine; its owner's lock guards it. Make it with NewSwitch.
//
// A bucket that moves to another way must not overtake, on it, what it has outstanding on the one
// before. So each move begins a new turn, whatever enters is counted under its way and turn, and a
// record waits while something is left on the other way of a turn before its bucket came to its
// own. That is all of the topic's and way's, not only the bucket's: to count by buckets would cost
// every record a look at its key, for waits of one round trip after a move.
type Switch struct {
	share int
	named [2]bool // records were seen that name their partition, and records that do not
	turn  uint64
	since [Buckets + 1]uint64 // the turn in which a bucket came to its way
	open  [2][]batch          // by way, in the order of turns; none is empty
}

// batch is how many calls of a turn are on their way.
type batch struct {
	turn uint64
	n    int
}

// Ticket is what Leave needs to know of an Enter.
type Ticket struct {
	turn uint64
	path Path
}

// NewSwitch makes one of which so many percent go through the sidecar.
func NewSwitch(share int) *Switch { return &Switch{share: share} }

// Share is the percentage that goes through the sidecar.
func (s *Switch) Share() int { return s.share }

// Turn sets the percentage that goes through the sidecar. A larger one moves no bucket back, and
// nor does a smaller one.
func (s *Switch) Turn(share int) {
	if share == s.share {
		return
	}
	var before [Buckets + 1]Path
	for b := range before {
		before[b] = s.Path(b)
	}
	s.share = share
	s.turn++
	for b := range before {
		if s.Path(b) != before[b] {
			s.since[b] = s.turn
		}
	}
}

// See notes whether a record names its partition. Where some do and others do not, a key's records
// may be among both, in one partition: then the whole topic goes one way, with the majority.
func (s *Switch) See(partition int32) {
	n := 0
	if partition != NoPartition {
		n = 1
	}
	if s.named[n] {
		return
	}
	s.named[n] = true
	if s.named[1-n] {
		s.turn++
		for b := range s.since {
			s.since[b] = s.turn // a key changes its bucket with the record that names a partition
		}
	}
}

// Path is the way of a bucket.
func (s *Switch) Path(bucket int) Path {
	if bucket == unkeyed || s.named[0] && s.named[1] {
		bucket = Buckets/2 - 1 // with the majority
	}
	if bucket < s.share {
		return Sidecar
	}
	return Direct
}

// Ready tells whether records of the bucket may go their way: what it had on the other one is at
// its end.
func (s *Switch) Ready(bucket int) bool {
	other := s.open[1-s.Path(bucket)]
	return len(other) == 0 || other[0].turn >= s.since[bucket]
}

// Whole is the one way of all records, if there is one and all may go it.
func (s *Switch) Whole() (Path, bool) {
	switch {
	case s.share == 100 && len(s.open[Direct]) == 0:
		return Sidecar, true
	case s.share == 0 && len(s.open[Sidecar]) == 0:
		return Direct, true
	}
	return 0, false
}

// Enter counts a call with records, all of them ready, that go a way.
func (s *Switch) Enter(w Path) Ticket {
	if n := len(s.open[w]); n > 0 && s.open[w][n-1].turn == s.turn {
		s.open[w][n-1].n++
	} else {
		s.open[w] = append(s.open[w], batch{s.turn, 1})
	}
	return Ticket{s.turn, w}
}

// Leave is for a call of which every record has its fate. It tells whether that may have made
// others ready.
func (s *Switch) Leave(t Ticket) (news bool) {
	list := s.open[t.path]
	for i := range list {
		if list[i].turn != t.turn {
			continue
		}
		if list[i].n--; list[i].n == 0 {
			s.open[t.path] = append(list[:i], list[i+1:]...)
			return i == 0
		}
		return false
	}
	return false
}

// Leaving tells whether something is left on a way that buckets have moved away from.
func (s *Switch) Leaving(w Path) bool {
	if len(s.open[w]) == 0 {
		return false
	}
	for b := range s.since {
		if s.Path(b) != w && !s.Ready(b) {
			return true
		}
	}
	return false
}

// Open tells whether something is on a way.
func (s *Switch) Open(w Path) bool { return len(s.open[w]) > 0 }
