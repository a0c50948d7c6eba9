package route

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// entry is a record: the number-th of its key.
type entry struct {
	key, number int
	ticket      Ticket
}

// world is a topic behind a switch, with two ways that write when they like: each in its own order,
// as a Kafka client does, and neither knows of the other.
type world struct {
	topic   *Switch
	made    map[int]int // by key: how many records were made
	blocked map[int]bool
	paths   [2][]entry // entered and not written
	answers [2][]entry // written, and the switch does not know
	written map[int][]int
}

func keyOf(n int) []byte { return fmt.Appendf(nil, "key-%d", n) }

// deliver lets the next record of a key enter, if it may: who delivers a key's records waits with
// the one that may not.
func (w *world) deliver(key int, named bool) {
	b := Bucket(keyOf(key), NoPartition)
	switch {
	case named:
		w.topic.See(2)
		b = Bucket(keyOf(key), 2)
	case key == 0:
		b = Bucket(nil, NoPartition)
		fallthrough
	default:
		w.topic.See(NoPartition)
	}
	if w.blocked[key] = !w.topic.Ready(b); w.blocked[key] {
		return
	}
	path := w.topic.Path(b)
	if whole, ok := w.topic.Whole(); ok && whole != path {
		panic("the switch is whole another path")
	}
	w.made[key]++
	w.paths[path] = append(w.paths[path], entry{key, w.made[key], w.topic.Enter(path)})
}

// write lets a way write a record: the first of some key.
func (w *world) write(path Path, i int) {
	e := w.paths[path][i]
	i = slices.IndexFunc(w.paths[path], func(x entry) bool { return x.key == e.key })
	e = w.paths[path][i]
	w.paths[path] = slices.Delete(w.paths[path], i, i+1)
	w.written[e.key] = append(w.written[e.key], e.number)
	w.answers[path] = append(w.answers[path], e)
}

func (w *world) answer(path Path, i int) {
	w.topic.Leave(w.answers[path][i].ticket)
	w.answers[path] = slices.Delete(w.answers[path], i, i+1)
}

// TestSwitchKeepsOrder: whatever is switched while records are on their way, each key's records are
// written in the order in which they were delivered, and when nothing is on its way nobody waits.
func TestSwitchKeepsOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{topic: NewSwitch(rapid.IntRange(0, 100).Draw(t, "share")), made: map[int]int{}, blocked: map[int]bool{}, written: map[int][]int{}}
		check := func() {
			for key, numbers := range w.written {
				for i, n := range numbers {
					if n != i+1 {
						t.Fatalf("key %d was written in the order %v", key, numbers)
					}
				}
			}
		}
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			path := Path(rapid.IntRange(0, 1).Draw(t, "path"))
			switch rapid.IntRange(0, 4).Draw(t, "step") {
			case 0:
				w.topic.Turn(rapid.SampledFrom([]int{0, 1, 10, 50, 51, 99, 100}).Draw(t, "share"))
			case 1, 2:
				key := rapid.IntRange(0, 12).Draw(t, "key")
				w.deliver(key, key == 1 || key == 2 && rapid.Bool().Draw(t, "named"))
			case 3:
				if n := len(w.paths[path]); n > 0 {
					w.write(path, rapid.IntRange(0, n-1).Draw(t, "written"))
				}
			case 4:
				if n := len(w.answers[path]); n > 0 {
					w.answer(path, rapid.IntRange(0, n-1).Draw(t, "answered"))
				}
			}
			check()
		}
		for _, path := range []Path{Sidecar, Direct} {
			for len(w.paths[path]) > 0 {
				w.write(path, 0)
			}
			for len(w.answers[path]) > 0 {
				w.answer(path, 0)
			}
			if w.topic.Open(path) || w.topic.Leaving(path) {
				t.Fatal("nothing is on its path, and the switch counts something")
			}
		}
		check()
		for key := range 13 {
			if w.deliver(key, key == 1); w.blocked[key] {
				t.Fatalf("nothing is on its path, and key %d waits", key)
			}
		}
	})
}

// TestWaitingIsOver: a bucket waits for what it had on the other way, and for no longer: neither
// for what came to that way after it had moved, nor when it moves back.
func TestWaitingIsOver(t *testing.T) {
	low, high := 5, 95
	s := NewSwitch(0)
	before := s.Enter(Direct)
	s.Turn(10)
	if s.Ready(low) || !s.Ready(high) || !s.Leaving(Direct) {
		t.Fatal("what moved has to wait, and nothing else")
	}
	after, more := s.Enter(Direct), s.Enter(Direct)
	if news := s.Leave(more); news || s.Ready(low) {
		t.Fatal("what came later is through, and what moved has something on the other way still")
	}
	if news := s.Leave(before); !news || !s.Ready(low) || s.Leaving(Direct) {
		t.Fatal("what it had on the path before is over")
	}
	s.Turn(0)
	if !s.Ready(low) {
		t.Fatal("it waits though it left nothing on the other path")
	}
	s.Leave(after)
	if path, ok := s.Whole(); !ok || path != Direct {
		t.Fatal("all goes directly")
	}
}

// TestSharesAreOfKeys: the same keys go along at every step of a canary, and about as many as it
// says; of one key all go one way.
func TestSharesAreOfKeys(t *testing.T) {
	const keys = 20_000
	for _, share := range []int{0, 1, 10, 50, 99, 100} {
		s, wider := NewSwitch(share), NewSwitch(min(share+7, 100))
		n := 0
		for k := range keys {
			b := Bucket(keyOf(k), NoPartition)
			if b != Bucket(keyOf(k), NoPartition) {
				t.Fatal("two records of one key are in two buckets")
			}
			if s.Path(b) == Sidecar {
				n++
				if wider.Path(b) != Sidecar {
					t.Fatalf("key %d goes back when %d %% become %d", k, share, wider.Share())
				}
			}
		}
		if want := keys * share / 100; n < want-keys/100 || n > want+keys/100 {
			t.Errorf("%d of %d keys go through the sidecar at %d %%", n, keys, share)
		}
	}
}

func TestRecordsWithoutAKey(t *testing.T) {
	if Bucket(nil, NoPartition) != unkeyed || Bucket([]byte{}, NoPartition) == unkeyed {
		t.Error("nil is no key, an empty one is a key")
	}
	if Bucket(nil, 3) == unkeyed || Bucket(nil, 3) == Bucket(nil, 4) || Bucket([]byte("k"), 3) != Bucket(nil, 3) {
		t.Error("a record belongs to the partition that it names")
	}
	both := NewSwitch(30)
	both.See(1)
	if both.Path(29) != Sidecar || both.Path(30) != Direct {
		t.Error("by the partition that each record names")
	}
	if both.See(NoPartition); both.Path(0) != Direct || both.Path(99) != Direct {
		t.Error("where some records name their partition and others do not, all go with the majority")
	}
	for share, want := range map[int]Path{0: Direct, 49: Direct, 50: Sidecar, 100: Sidecar} {
		if got := NewSwitch(share).Path(unkeyed); got != want {
			t.Errorf("at %d %% records without a key go path %d", share, got)
		}
	}
}
