//go:build linux

// Command recording runs a command in a terminal of its own and writes what it showed as an
// animated SVG, which ends with its last screen:
//
//	go -C tools run ./recording -o ../docs/img/demo.svg -- go -C .. run ./cmd/ackmark demo
//
// Times are those of the run. It exits with an error if the command failed.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	out := flag.String("o", "", "SVG file to write")
	rows := flag.Int("rows", 31, "height of the terminal")
	columns := flag.Int("columns", 78, "its width")
	every := flag.Duration("every", 400*time.Millisecond, "shortest time that a frame is shown")
	last := flag.Duration("last", 10*time.Second, "how long the last frame is shown, before it begins again")
	prompt := flag.String("prompt", "", "what is shown as typed, in front of the output")
	flag.Parse()
	if *out == "" || flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "recording: usage: recording -o FILE -- COMMAND [ARGUMENT …]")
		os.Exit(2)
	}
	s := newScreen(*rows, *columns)
	if *prompt != "" {
		s.write("\x1b[1m$ " + *prompt + "\x1b[0m\n")
	}
	frames, err := record(s, *every, flag.Args())
	if err == nil {
		err = os.WriteFile(*out, []byte(svg(frames, *rows, *columns, *last)), 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "recording:", err)
		os.Exit(1)
	}
}

// frame is a screen, and how long after the first output it was there.
type frame struct {
	at    time.Duration
	lines [][]span
}

// record runs the command until it ends, and looks at the screen after each piece of output.
func record(s *screen, every time.Duration, args []string) (frames []frame, err error) {
	terminal, theirs, err := openTerminal(s.rows, s.columns)
	if err != nil {
		return nil, fmt.Errorf("open a terminal: %w", err)
	}
	defer terminal.Close()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs, theirs, theirs
	cmd.Env = append(os.Environ(), "TERM=xterm-256color")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		return nil, err
	}
	var begin time.Time
	buf := make([]byte, 64<<10)
	for {
		n, err := terminal.Read(buf)
		if err != nil { // EIO: the last process that had the other end is gone
			break
		}
		if begin.IsZero() {
			begin = time.Now()
		}
		s.write(string(buf[:n]))
		f := frame{time.Since(begin), s.lines()}
		if n := len(frames); n > 0 && f.at-frames[n-1].at < every {
			f.at = frames[n-1].at
			frames = frames[:n-1]
		}
		frames = append(frames, f)
	}
	if err := cmd.Wait(); err != nil {
		return nil, fmt.Errorf("%q: %w; its last screen:\n%s", args, err, s.text())
	}
	if len(frames) == 0 {
		return nil, fmt.Errorf("%q wrote nothing", args)
	}
	return frames, nil
}

// openTerminal makes a pseudo-terminal: our end, and the command's.
func openTerminal(rows, columns int) (ours, theirs *os.File, err error) {
	ours, err = os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		return nil, nil, err
	}
	fd := int(ours.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: uint16(rows), Col: uint16(columns)})
	}
	if err == nil {
		theirs, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		ours.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}
