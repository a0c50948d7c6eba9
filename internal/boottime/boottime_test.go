package boottime

import (
	"testing"
	"time"
)

func TestItRunsWithTime(t *testing.T) {
	first := Nanos()
	if first == 0 {
		t.Skip("this system has no boot-time clock")
	}
	for deadline := time.Now().Add(time.Second); Nanos() <= first; {
		if time.Now().After(deadline) {
			t.Fatal("it stands still")
		}
	}
}

func TestReplace(t *testing.T) {
	restore := Replace(func() uint64 { return 7 })
	if n := Nanos(); n != 7 {
		t.Errorf("%d, not 7", n)
	}
	inner := Replace(func() uint64 { return 8 })
	inner()
	if n := Nanos(); n != 7 {
		t.Errorf("%d, not the clock that was replaced", n)
	}
	restore()
	if Nanos() == 7 {
		t.Error("the clock was not put back")
	}
}
