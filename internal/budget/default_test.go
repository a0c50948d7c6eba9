package budget

import (
	"math"
	"os"
	"testing"
)

const (
	mib  = 1 << 20
	none = math.MaxInt64
)

func TestDefaultBytes(t *testing.T) {
	for _, c := range []struct {
		root    string // under testdata: proc/self/cgroup and sys/fs/cgroup as the process would see them
		goLimit int64
		want    int64
	}{
		{"v2-container", none, 128 * mib},
		{"v2-container", 200 * mib, 50 * mib}, // GOMEMLIMIT is the smaller one
		{"v2-container", 900 * mib, 128 * mib},
		{"v2-nested", none, 32 * mib},                                   // a parent allows less than the process's own cgroup
		{"v1", none, 16 * mib},                                          // its path exists only outside of the container
		{"v1-unlimited", none, 64 * mib},                                // the largest page-aligned number means none
		{"none", none, 64 * mib}, {"no such directory", none, 64 * mib}, // not Linux
		{"none", 10 * mib, 8 * mib},     // never less: one fetch has to fit
		{"none", 64 << 30, 256 * mib},   // never more by default
		{"hostile", none, 64 * mib},     // nothing there is a limit
		{"hybrid", none, 400000000 / 4}, // version 1 for memory, version 2 beside it
	} {
		if got := defaultBytes(os.DirFS("testdata/"+c.root), c.goLimit); got != c.want {
			t.Errorf("%s with GOMEMLIMIT %d: %d bytes, want %d", c.root, c.goLimit, got, c.want)
		}
	}
}

func TestDefaultBytesOfThisMachine(t *testing.T) {
	if got := DefaultBytes(); got < minDefault || got > maxDefault {
		t.Fatalf("%d bytes", got)
	}
}
