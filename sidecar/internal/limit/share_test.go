package limit

import (
	"testing"

	"pgregory.net/rapid"
)

// One who takes all of what is shared leaves everybody else his floor, and some of the rest (F5).
func TestShares(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		holders := rapid.IntRange(1, 8).Draw(t, "holders")
		size := rapid.Int64Range(0, 1000).Draw(t, "size")
		c := NewCommons(size, holders)
		shares := make([]*Share, holders)
		for i := range shares {
			shares[i] = new(c.Share())
		}
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			s := shares[rapid.IntRange(0, holders-1).Draw(t, "who")]
			n := rapid.Int64Range(0, size+10).Draw(t, "n")
			switch {
			case rapid.Bool().Draw(t, "gives"):
				s.Give(min(n, s.held))
			case !s.Take(n) && s.held+n <= c.floor:
				t.Fatalf("%d of a floor of %d are held, and %d more are refused", s.held, c.floor, n)
			}
			sum := int64(0)
			for _, s := range shares {
				if sum += s.held; holders > 1 && s.held > c.floor+c.extra/2+1 {
					t.Fatalf("one of %d holds %d of %d", holders, s.held, size)
				}
			}
			if sum > size {
				t.Fatalf("%d of %d are given out", sum, size)
			}
		}
		for _, s := range shares {
			s.Close()
			s.Give(5)
			if s.Take(1) {
				t.Fatal("a closed share takes")
			}
		}
		if c.lent != 0 {
			t.Fatalf("%d are lent when nobody holds any", c.lent)
		}
	})
}
