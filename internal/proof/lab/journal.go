package lab

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// journalLines is how many lines a failure shows.
const journalLines = 250

// journal keeps the last lines that the processes and the lab itself wrote. ACKMARK_LOG=debug keeps
// everything.
type journal struct {
	mu    sync.Mutex
	begun time.Time
	lines []string
	lost  int
}

func newJournal() *journal { return &journal{begun: time.Now()} }

// Write implements io.Writer, a line at a time.
func (j *journal) Write(p []byte) (int, error) {
	j.add(strings.TrimRight(string(p), "\n"))
	return len(p), nil
}

// whileAlive writes for a process until that is dead.
type whileAlive struct {
	dead *atomic.Bool
	to   *journal
}

// Write implements io.Writer.
func (w whileAlive) Write(p []byte) (int, error) {
	if w.dead.Load() && logLevel() > slog.LevelDebug {
		return len(p), nil
	}
	return w.to.Write(p)
}

func (j *journal) printf(format string, args ...any) {
	j.add(fmt.Sprintf("t=%v %s", time.Since(j.begun), fmt.Sprintf(format, args...)))
}

func (j *journal) add(line string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
	if len(j.lines) > 2*journalLines && logLevel() > slog.LevelDebug {
		j.lost += len(j.lines) - journalLines
		j.lines = append(j.lines[:0], j.lines[len(j.lines)-journalLines:]...)
	}
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return fmt.Sprintf("%d earlier lines\n%s\n", j.lost, strings.Join(j.lines, "\n"))
}

func logLevel() slog.Level {
	if os.Getenv("ACKMARK_LOG") == "debug" {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}
