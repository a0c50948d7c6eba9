package demo

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/term"
	"github.com/ackmark/ackmark/internal/devbroker"
	"github.com/ackmark/ackmark/internal/proof/figures"
)

// view shows the progress: a table that is redrawn on a terminal, lines elsewhere.
type view struct {
	show  *show
	out   io.Writer
	live  bool
	fd    int
	drawn int // lines of the last frame
	done  chan struct{}
	wait  sync.WaitGroup
}

func newView(s *show) *view {
	v := &view{show: s, out: s.Stdout, done: make(chan struct{})}
	if s.JSON {
		v.out = s.Stderr
	}
	if f, ok := v.out.(*os.File); ok && !s.Verbose && os.Getenv("TERM") != "dumb" {
		v.fd = int(f.Fd())
		_, v.live = term.Width(v.fd)
	}
	v.write(s.intro())
	every, draw := 2*time.Second, v.line
	if v.live {
		every, draw = 200*time.Millisecond, v.frame
	}
	v.wait.Go(func() {
		t := time.NewTicker(every)
		defer t.Stop()
		sample := time.NewTicker(100 * time.Millisecond) // the peak of the connections must not depend on how often we draw
		defer sample.Stop()
		for {
			select {
			case <-v.done:
				v.end()
				return
			case <-sample.C:
				for _, of := range s.sides() {
					of.view()
				}
			case <-t.C:
				draw()
			}
		}
	})
	return v
}

// stop draws a last time and returns when nothing more will be drawn.
func (v *view) stop() {
	close(v.done)
	v.wait.Wait()
}

// end leaves the screen to the result: the last frame goes.
func (v *view) end() {
	if v.live && v.drawn > 0 {
		v.write(fmt.Sprintf(cursorUp+eraseBelow, v.drawn))
		return
	}
	v.line()
}

// intro says what will happen, with every setting of both sides.
func (s *show) intro() string {
	broker := fmt.Sprintf("embedded broker (%s), %d brokers", devbroker.Label, len(s.cluster.addrs))
	if s.cluster.dev == nil {
		broker = "brokers " + strings.Join(s.cluster.addrs, ",") + ", topics " + s.cluster.prefix + "-* (deleted afterwards)"
	}
	input := figures.Thousands(s.Records) + " generated inputs"
	if s.Input != "" {
		input = figures.Thousands(s.Records) + " lines of " + s.Input
	}
	child := childSpec{SessionTimeout: s.SessionTimeout}
	text := []string{
		"Ackmark and an ordinary auto-commit consumer do the same job; processes of both are killed.",
		"",
		fmt.Sprintf("%s; %d partitions; %s at %s/s on average, in bursts; %d SIGKILLs per side (--seed %d)",
			broker, s.Partitions, input, perSecond(s.Rate), s.Kills, s.Seed),
		fmt.Sprintf("both sides: %d processes, the same handler, %s of simulated work, %d at a time, %s, "+
			"keys kept in order, session timeout %s, heartbeat %s, commit every %s, idempotent producer, acks=all",
			s.Processes, s.Work, s.Workers, s.waiting(), s.SessionTimeout, child.heartbeat(), commitEvery),
		fmt.Sprintf("auto-commit: commits what the poll loop (%d records per poll) put into the buffer, the default of Kafka's clients; SIGTERM drains the buffer", pollRecords),
		"Ackmark: outputs through the sidecar; commits only inputs whose outputs are acknowledged; the sidecar ends the work of a killed process for it",
	}
	if s.exact != nil {
		text = append(text, "exactly-once: the same pipelines with another sidecar, which commits their outputs and offsets in one transaction, ten times a second; read by a reader of committed records")
	}
	if url := s.pageURL(); url != "" {
		text = append(text, "the sidecar's page: "+url)
	}
	var b strings.Builder
	for _, t := range text {
		if t == "" {
			b.WriteByte('\n')
			continue
		}
		b.WriteString(wrap(t, 78))
	}
	b.WriteByte('\n')
	return b.String()
}

func perSecond(rate float64) string {
	if rate < 10 {
		return fmt.Sprintf("%.2g", rate)
	}
	return figures.Thousands(int(rate))
}

// waiting says how much a process of each side may hold.
func (s *show) waiting() string {
	if s.maxRecords == bufferSize {
		return "at most " + figures.Thousands(bufferSize) + " messages waiting in a process"
	}
	return fmt.Sprintf("at most %s messages waiting in an auto-commit process, and %s received and not done in an Ackmark one", figures.Thousands(bufferSize), figures.Thousands(s.maxRecords))
}

// write ends the show when nobody reads it any more (a pipe to head): its processes and files must
// not outlive it.
func (v *view) write(text string) {
	if _, err := io.WriteString(v.out, text); err != nil {
		v.show.fail(fmt.Errorf("write the progress: %w", err))
	}
}

// line is the plain form of the progress.
func (v *view) line() {
	var b strings.Builder
	fmt.Fprintf(&b, "%5.1fs %-21s inputs %d\n", time.Since(v.show.started).Seconds(), *v.show.phase.Load(), v.show.gen.fed.Load())
	for _, s := range v.show.sides() {
		x := s.view()
		fmt.Fprintf(&b, "       %-12s  outputs %d, in flight %d, lag %d, repeated %d, kills %d, broker connections %d\n",
			s.title, x.Outputs, x.InFlight, x.Lag, x.Duplicated, x.Kills, x.Connections)
	}
	v.write(b.String())
}

const (
	bold, red, green, reset = "\x1b[1m", "\x1b[31m", "\x1b[32m", "\x1b[0m"
	eraseLine, eraseBelow   = "\x1b[K", "\x1b[J"
	cursorUp                = "\x1b[%dA"
)

// frame redraws the table in place.
func (v *view) frame() {
	width, ok := term.Width(v.fd)
	if !ok || width < 20 {
		width = 80
	}
	lines := v.lines()
	var b strings.Builder
	if v.drawn > 0 {
		fmt.Fprintf(&b, cursorUp, v.drawn)
	}
	for _, line := range lines {
		b.WriteString(clip(line, width-1) + eraseLine + "\n")
	}
	v.drawn = len(lines)
	v.write(b.String())
}

func (v *view) lines() []string {
	s := v.show
	var all []sideView
	var titles, processes string
	for _, of := range s.sides() {
		x := of.view()
		all = append(all, x)
		titles += fmt.Sprintf("%15s", of.title)
		processes += "  " + processLine(x) + " "
	}
	fed := int(s.gen.fed.Load())
	num := func(name string, of func(*sideView) int) string {
		line := fmt.Sprintf("  %-32s", name)
		for i := range all {
			line += fmt.Sprintf("%15s", figures.Thousands(of(&all[i])))
		}
		return line
	}
	elapsed := time.Since(s.started).Seconds()
	out := []string{
		fmt.Sprintf("  %s%5.1f s  %s%s  %s", bold, elapsed, *s.phase.Load(), reset, bar(fed, s.Records, 30)),
		"",
		bold + strings.Repeat(" ", 34) + titles + reset,
		num("inputs", func(*sideView) int { return fed }),
		num("outputs", func(x *sideView) int { return x.Outputs }),
		num("  of these repeated", func(x *sideView) int { return x.Duplicated }),
		num("in flight", func(x *sideView) int { return int(x.InFlight) }),
		num("lag", func(x *sideView) int { return int(x.Lag) }),
		num("kills", func(x *sideView) int { return x.Kills }),
		num("broker connections", func(x *sideView) int { return int(x.Connections) }),
		"",
		processes,
	}
	return out
}

func processLine(v sideView) string {
	words := make([]string, len(v.Processes))
	for i, p := range v.Processes {
		color, mark := green, "●"
		if !p.Running {
			color, mark = red, "✗"
		}
		words[i] = color + mark + reset + " " + p.Name
	}
	return strings.Join(words, "  ")
}

func bar(n, of, width int) string {
	filled := n * width / max(of, 1)
	return strings.Repeat("█", filled) + strings.Repeat("░", max(width-filled, 0)) + fmt.Sprintf(" %d%%", n*100/max(of, 1))
}

// clip cuts a line to this many columns; escape sequences take none.
func clip(line string, width int) string {
	var b strings.Builder
	column, escape := 0, false
	for _, r := range line {
		switch {
		case r == '\x1b':
			escape = true
		case escape:
			escape = r != 'm'
		default:
			if column++; column > width {
				continue
			}
		}
		b.WriteRune(r)
	}
	return b.String()
}
