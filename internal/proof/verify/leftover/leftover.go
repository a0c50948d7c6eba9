// Package leftover names what is still taken of a limit when everything should have been given
// back: bytes, records, credits, places, names. The packages that hold such limits count theirs
// into a [List]; their model-based tests end with [Expect].
package leftover

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// List is what is left over. The zero value is nothing.
type List []string

// Check counts something that should be zero.
func (l *List) Check(what string, n int64) {
	if n != 0 {
		*l = append(*l, fmt.Sprintf("%s %d", what, n))
	}
}

// String is empty when everything was given back.
func (l List) String() string { return strings.Join(l, ", ") }

// Seeds are those of a test's random runs: the same n ones in every run, so that a failure is no
// luck, and half as many that nobody has played. ACKMARK_SEED plays one of them again.
func Seeds(n int) []uint64 {
	if seed, err := strconv.ParseUint(os.Getenv("ACKMARK_SEED"), 10, 64); err == nil {
		return []uint64{seed}
	}
	var seeds []uint64
	for i := range n {
		seeds = append(seeds, uint64(i)+1)
	}
	for range n / 2 {
		seeds = append(seeds, rand.Uint64())
	}
	return seeds
}

// patience is virtual time: wills, retries, misspelt topics.
const patience = time.Minute

// Expect demands, in a synctest bubble, that nothing is left over, within a minute of virtual time.
func Expect(t testing.TB, when string, left func() string) {
	t.Helper()
	var found string
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		synctest.Wait()
		if found = left(); found == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("not given back %s: %s", when, found)
			return
		}
	}
}
