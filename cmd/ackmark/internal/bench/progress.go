package bench

import (
	"fmt"
	"io"
	"time"
)

// progress says on standard error what the bench is doing: on one line of a terminal, else as log
// lines with the time.
type progress struct {
	out      io.Writer
	terminal bool
	began    time.Time
	dirty    bool
}

func newProgress(out io.Writer, terminal bool) *progress {
	return &progress{out: out, terminal: terminal, began: time.Now()}
}

func (p *progress) say(format string, args ...any) {
	line := fmt.Sprintf("%3.0fs  ", time.Since(p.began).Seconds()) + fmt.Sprintf(format, args...)
	if p.terminal {
		fmt.Fprint(p.out, "\r\x1b[K"+line)
		p.dirty = true
		return
	}
	fmt.Fprintln(p.out, line)
}

// end gives the line back.
func (p *progress) end() {
	if p.dirty {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}
