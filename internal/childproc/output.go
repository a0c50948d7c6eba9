package childproc

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
)

const (
	keptLines = 20
	maxLine   = 1 << 20
)

// eachLine calls fn for every line until the end. Of what cannot be read as lines it lets the
// process go on writing.
func eachLine(r io.Reader, fn func([]byte)) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		fn(lines.Bytes())
	}
	_, _ = io.Copy(io.Discard, r)
}

// lastLines keeps the end of what a process says.
type lastLines struct {
	mu   sync.Mutex
	kept []string
}

func (l *lastLines) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept = append(l.kept[max(0, len(l.kept)+1-keptLines):], line)
}

func (l *lastLines) last(n int) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.kept[max(0, len(l.kept)-n):]...)
}

func (p *Process) said(line []byte) {
	if p.Echo != nil {
		fmt.Fprintf(p.Echo, "%s\n", line)
	}
	p.lines.add(string(line))
}

// Tail returns the last lines that the process wrote to its log, or the last of 20 to standard
// error.
func (p *Process) Tail(n int) []string {
	if p.Log == "" {
		return p.lines.last(n)
	}
	return TailOf(p.Log, n)
}

// TailOf returns the last lines of a log.
func TailOf(path string, n int) []string {
	data, _ := os.ReadFile(path)
	all := strings.Split(strings.TrimSpace(string(data)), "\n")
	return all[max(0, len(all)-n):]
}
