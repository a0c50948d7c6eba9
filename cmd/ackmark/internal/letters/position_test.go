package letters

import (
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/ackmark/ackmark/internal/donemeta"
)

// A position is a set of offsets: against a map, and through its text.
func TestPositionAgainstASet(t *testing.T) {
	id := [16]byte{1, 2, 3}
	rapid.Check(t, func(t *rapid.T) {
		var p Position
		done := map[int64]bool{}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			first := rapid.Int64Range(0, 80).Draw(t, "first")
			last := first + rapid.Int64Range(-2, 6).Draw(t, "length")
			p.Finish(first, last)
			for o := first; o <= last; o++ {
				done[o] = true
			}
			offset, epoch, text, ok := p.Commit(id)
			if !ok {
				t.Fatal("it does not fit")
			}
			again, err := ReadPosition(id, offset, epoch, text)
			if err != nil {
				t.Fatal(err)
			}
			mark := int64(0)
			for done[mark] {
				mark++
			}
			if p.Mark() != mark || again.Mark() != mark {
				t.Fatalf("mark %d, read again %d, want %d", p.Mark(), again.Mark(), mark)
			}
			for o := range int64(100) {
				if p.Done(o) != done[o] || again.Done(o) != done[o] {
					t.Fatalf("offset %d: %t, read again %t, want %t", o, p.Done(o), again.Done(o), done[o])
				}
			}
			for i := range p.done {
				if r := p.done[i]; r.First <= p.mark || i > 0 && r.First <= p.done[i-1].Last+1 {
					t.Fatalf("runs that touch: mark %d, %v", p.mark, p.done)
				}
			}
		}
	})
}

// What is not understood is no position: else a letter would go back twice.
func TestPositionsThatAreNotOurs(t *testing.T) {
	id := [16]byte{1}
	text, _ := donemeta.Append(nil, donemeta.Binding{TopicID: id, Base: 5, LeaderEpoch: -1}, []donemeta.Run{{First: 7, Last: 8}})
	for name, c := range map[string]struct {
		id       [16]byte
		offset   int64
		metadata string
		foreign  bool
	}{
		"none":                     {id, -1, "", false},
		"set by a tool":            {id, 5, "", false},
		"ours":                     {id, 5, string(text), false},
		"moved with its text":      {id, 6, string(text), true},
		"of another topic":         {[16]byte{2}, 5, string(text), true},
		"of another program":       {id, 5, "hello", true},
		"with a character changed": {id, 5, string(text[:len(text)-1]) + "A", true},
	} {
		if _, err := ReadPosition(c.id, c.offset, -1, c.metadata); errors.Is(err, ErrForeign) != c.foreign || (err != nil) != c.foreign {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// More holes than the metadata can hold are refused, not forgotten.
func TestAPositionThatIsFull(t *testing.T) {
	var p Position
	for i := int64(1); i < 4000; i++ {
		p.Finish(i*100, i*100)
		if _, _, _, ok := p.Commit([16]byte{}); !ok {
			return
		}
	}
	t.Error("4000 holes fit")
}
