package ackmark

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write what the tracker answers into testdata/*.txt")

// TestScenarios replays testdata/*.txt. A line is a command, "=>", and the tracker's answer; "#"
// begins a comment. The commands:
//
//	start OFFSET limit N    a new tracker
//	add OFFSET…             inputs in fetch order; answers their indices, "full", or "refused" for an offset below the next one
//	put INDEX@OFFSET…       inputs out of order; answers "refused" for each that cannot be
//	done INDEX | A-B …      ends inputs, one by one or as a range; answers how many this call ended if not all
//	skip OFFSET             the fetch position moved
//	state                   everything the tracker tells
//
// Every answer ends with the mark, and the done-set if there is one. go test -run Scenarios -update
// writes the answers anew: read the diff.
func TestScenarios(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.txt")
	if len(files) == 0 {
		t.Fatal("no scenarios in testdata")
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) { replay(t, file) })
	}
}

func replay(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var tr *Tracker
	var out strings.Builder
	for i, line := range strings.Split(strings.TrimRight(string(text), "\n"), "\n") {
		command, want, _ := strings.Cut(line, "=>")
		command, want = strings.TrimSpace(command), strings.TrimSpace(want)
		if command == "" || strings.HasPrefix(command, "#") {
			fmt.Fprintln(&out, strings.TrimRight(line, " "))
			continue
		}
		got := step(t, &tr, strings.Fields(command))
		fmt.Fprintf(&out, "%-28s => %s\n", command, got)
		if got != want && !*update {
			t.Errorf("%s:%d: %s\n  got  %s\n  want %s", file, i+1, command, got, want)
		}
	}
	if *update {
		if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func step(t *testing.T, tr **Tracker, words []string) string {
	var said []string
	switch words[0] {
	case "start":
		*tr = New(number(t, words[1]), int(number(t, words[3])))
	case "skip":
		(*tr).Skip(number(t, words[1]))
	case "state":
		said = append(said, state(*tr))
	case "add", "put", "done":
		for _, w := range words[1:] {
			if answer := one(t, *tr, words[0], w); answer != "" {
				said = append(said, answer)
			}
		}
	default:
		t.Fatalf("unknown command %q", words[0])
	}
	said = append(said, fmt.Sprintf("mark %d", (*tr).Mark()))
	for first, last := range (*tr).DoneSet() {
		said = append(said, fmt.Sprintf("done %d–%d", first, last))
	}
	return strings.Join(said, ", ")
}

// one runs a command for one of its words, and returns what it answers.
func one(t *testing.T, tr *Tracker, command, word string) (answer string) {
	switch command {
	case "add":
		defer func() {
			if recover() != nil {
				answer = "refused"
			}
		}()
		index, ok := tr.Add(number(t, word), 10)
		if !ok {
			return "full"
		}
		return fmt.Sprint(index)
	case "put":
		index, offset, _ := strings.Cut(word, "@")
		if !tr.Put(uint64(number(t, index)), number(t, offset), 10) {
			return "refused"
		}
	case "done":
		first, last, isRange := strings.Cut(word, "-")
		if !isRange {
			last = first
		}
		n := int(number(t, last)-number(t, first)) + 1
		if ended := tr.DoneRange(uint64(number(t, first)), n); ended != n {
			return fmt.Sprintf("%d of %d", ended, n)
		}
	}
	return ""
}

func state(tr *Tracker) string {
	s := fmt.Sprintf("next %d, pending %d with %d bytes, done above %d, mark index %d", tr.Next(), tr.Pending(), tr.PendingBytes(), tr.DoneAbove(), tr.MarkIndex())
	if offset, index, ok := tr.Oldest(); ok {
		s += fmt.Sprintf(", oldest %d (index %d)", offset, index)
	}
	return s
}

func number(t *testing.T, word string) int64 {
	n, err := strconv.ParseInt(word, 10, 64)
	if err != nil {
		t.Fatalf("%q is no number", word)
	}
	return n
}
