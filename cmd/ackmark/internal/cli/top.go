package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/letters"
	"github.com/ackmark/ackmark/cmd/ackmark/internal/podview"
	"github.com/ackmark/ackmark/cmd/ackmark/internal/term"
	"github.com/ackmark/ackmark/internal/podstate"
)

// NewTopCommand returns `ackmark top`.
func NewTopCommand() *cobra.Command {
	var t target
	var every time.Duration
	cmd := &cobra.Command{
		Use: "top", Short: "Watch a pod: its processes, partitions and incidents, live", Args: noArgs,
		Long: `Shows what the sidecar and the processes at it do, and refreshes it: rates, queue, connections, processes, the
partitions that need a look first (what stands still, then the oldest input, then the lag), and the last incidents.

q or Ctrl-C ends it. Where the output is no terminal it is printed once.

A partition that catches the eye: ackmark explain TOPIC PARTITION`,
		Example: "  ackmark top\n  ackmark top --listen unix:///tmp/ackmark.sock --every 500ms\n  ackmark top | head -20",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if every < 100*time.Millisecond {
				return usageError{fmt.Errorf("--every is %s; it must be at least 100ms", every)}
			}
			out := cmd.OutOrStdout()
			f, ok := out.(*os.File)
			if !ok || !terminal(out) || !terminal(os.Stdin) {
				return topOnce(cmd.Context(), out, &t)
			}
			return topLive(cmd.Context(), f, &t, every)
		},
	}
	addTargetFlags(cmd, &t)
	cmd.Flags().DurationVar(&every, "every", time.Second, "how often to look")
	return cmd
}

// noLimit is the width of what is no terminal.
const noLimit = 1 << 20

func topOnce(ctx context.Context, w io.Writer, t *target) error {
	pod, err := t.pod(ctx)
	if err != nil {
		return err
	}
	for _, line := range podview.Top(nil, pod, noLimit, 0) {
		fmt.Fprintln(w, line)
	}
	return nil
}

// What the terminal is told: another screen without a cursor, and back.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l"
	leaveScreen = "\x1b[?25h\x1b[?1049l"
)

// topLive draws until q, Ctrl-C or an error. The terminal is as before afterwards.
func topLive(ctx context.Context, out *os.File, t *target, every time.Duration) error {
	restore, err := term.ByKey(int(os.Stdin.Fd()))
	if err != nil {
		return topOnce(ctx, out, t)
	}
	defer restore()
	fmt.Fprint(out, enterScreen)
	defer fmt.Fprint(out, leaveScreen)
	keys := make(chan byte, 8)
	go readKeys(os.Stdin, keys)
	tick := time.NewTicker(every)
	defer tick.Stop()
	var before, now *podstate.Pod
	for {
		pod, err := t.pod(ctx)
		if ctx.Err() != nil {
			return nil // Ctrl-C is how it ends
		}
		if err == nil {
			before, now = now, pod
		}
		if err := drawTop(out, before, now, err); err != nil {
			return err
		}
		for looking := true; looking; {
			select {
			case <-ctx.Done():
				return nil
			case k := <-keys:
				if k == 'q' || k == 'Q' || k == 3 { // Ctrl-C, where the terminal does not make a signal of it
					return nil
				}
			case <-tick.C:
				looking = false
			}
		}
	}
}

// readKeys ends with the process: nothing else ends a read of a terminal.
func readKeys(in io.Reader, keys chan<- byte) {
	var b [1]byte
	for {
		if n, err := in.Read(b[:]); err != nil || n == 0 {
			return
		}
		select {
		case keys <- b[0]:
		default: // a key held down
		}
	}
}

// drawTop writes a whole screen at once, each line to its end, so that nothing flickers.
func drawTop(out *os.File, before, now *podstate.Pod, problem error) error {
	width, height, ok := term.Size(int(out.Fd()))
	if !ok || width < 1 || height < 1 {
		width, height = 80, 24
	}
	var lines []string
	if problem != nil {
		lines = append(lines, letters.Printable(strings.Join(strings.Fields(oneLine(problem)), " ")), "")
		for i, l := range lines {
			r := []rune(l)
			lines[i] = string(r[:min(len(r), width)])
		}
	}
	if now != nil {
		lines = append(lines, podview.Top(before, now, width, max(1, height-1-len(lines)))...)
	}
	var b bytes.Buffer
	b.WriteString("\x1b[H")
	for _, l := range lines {
		b.WriteString(l + "\x1b[K\r\n")
	}
	b.WriteString("q ends\x1b[K\x1b[J")
	_, err := out.Write(b.Bytes())
	return err
}
