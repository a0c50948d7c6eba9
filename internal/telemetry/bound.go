package telemetry

import (
	"errors"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kerr"
)

// Bound has one value for each key: for at most so many keys, those that come first. Later keys
// share one value, so that no peer can make labels without end.
type Bound[K comparable, V any] struct {
	most   int
	create func(K) V

	mu     sync.Mutex
	byKey  map[K]V
	shared V
	full   bool // shared was made
	other  K
}

// NewBound tells at most so many keys apart; the values of all others are of one key, other.
func NewBound[K comparable, V any](most int, other K, create func(K) V) *Bound[K, V] {
	return &Bound[K, V]{most: most, other: other, create: create, byKey: map[K]V{}}
}

// Get returns the value of a key, and makes it if it is new.
func (b *Bound[K, V]) Get(key K) V {
	b.mu.Lock()
	defer b.mu.Unlock()
	if v, ok := b.byKey[key]; ok {
		return v
	}
	if len(b.byKey) < b.most && key != b.other {
		v := b.create(key)
		b.byKey[key] = v
		return v
	}
	if !b.full {
		b.shared, b.full = b.create(b.other), true
	}
	return b.shared
}

// Find returns the value of a key that has one of its own.
func (b *Bound[K, V]) Find(key K) (V, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	v, ok := b.byKey[key]
	return v, ok
}

// Each calls fn with what there is. Who counts does not wait for it.
func (b *Bound[K, V]) Each(fn func(K, V)) {
	b.mu.Lock()
	byKey, shared, full := maps.Clone(b.byKey), b.shared, b.full
	b.mu.Unlock()
	for k, v := range byKey {
		fn(k, v)
	}
	if full {
		fn(b.other, shared)
	}
}

// maxTopicName is Kafka's bound.
const maxTopicName = 249

// TopicName is the label of a topic that somebody named and that need not exist: [Other] where
// Kafka could not have one of that name. A text that is not UTF-8 would spoil the whole scrape.
func TopicName(topic string) string {
	if len(topic) > maxTopicName {
		return Other
	}
	for _, c := range []byte(topic) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' {
			return Other
		}
	}
	return topic
}

// maxAppName is a sidecar's bound.
const maxAppName = 128

// AppName is the label of what an app calls itself: [Other] where no sidecar would take the name.
func AppName(app string) string {
	if len(app) > maxAppName {
		return Other
	}
	return TopicName(app) // of the same characters
}

// maxErrors bounds the names of errors that are told apart. Kafka has about 130.
const maxErrors = 200

// Tally counts by name: of errors, reasons, outcomes.
type Tally struct {
	*Bound[string, *atomic.Uint64]
}

// NewTally counts nothing yet. Names that are known before are told as 0: who looks for an increase
// does not see one in a series that begins with its first count.
func NewTally(known ...string) Tally {
	t := NewTallyOf(maxErrors)
	for _, name := range known {
		t.Add(name, 0)
	}
	return t
}

// NewTallyOf tells at most so many names apart: those of a peer.
func NewTallyOf(most int) Tally {
	return Tally{NewBound(most, OtherError, func(string) *atomic.Uint64 { return new(atomic.Uint64) })}
}

// Add counts.
func (t Tally) Add(name string, n int) { t.Get(name).Add(uint64(n)) }

// KafkaError is the label of an error: Kafka's name, or the one that the caller has for an error of
// another kind, "" for none.
func KafkaError(err error, name string) string {
	if ke, ok := errors.AsType[*kerr.Error](err); ok {
		return ke.Message
	}
	if name == "" {
		return OtherError
	}
	return name
}
