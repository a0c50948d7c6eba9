package demo

import (
	"strings"
	"testing"
)

func TestMemoryOptions(t *testing.T) {
	for want, o := range map[string]Options{
		"--input is not for":                    {MemoryLimit: 256 << 20, Input: "x"},
		"--rate is not for":                     {MemoryLimit: 256 << 20, Rate: 1},
		"--memory-limit is 1048576 bytes; it m": {MemoryLimit: 1 << 20},
	} {
		if _, err := o.prepareMemory(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want an error that starts with %q", err, want)
		}
	}
}

func TestMemoryTable(t *testing.T) {
	r := &memoryResult{
		LimitBytes: 256 << 20, Mechanism: strings.Repeat("a mechanism ", 10), RecordBytes: largeBytes, Processes: 2,
		Leaking: memoryPhase{PeakBytes: 256 << 20, Deaths: 4}, Ackmark: &sideResult{Inputs: 12_345_678, counts: counts{Outputs: 12_345_678}, Kills: 4},
	}
	if err := r.verdict(); err != nil {
		t.Error(err)
	}
	for line := range strings.Lines(r.table()) {
		if n := len([]rune(strings.TrimRight(line, "\n"))); n > 79 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	for want, s := range map[string]sideResult{"lost 1": {Lost: 1}, "2 inputs twice": {counts: counts{Duplicated: 2}}, "left 3": {Unfinished: 3}} {
		r.Ackmark = &s
		if err := r.verdict(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
