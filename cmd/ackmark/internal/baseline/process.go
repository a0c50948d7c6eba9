package baseline

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// Process is a broker on this machine, looked at from outside: CPU and connections in /proc
// (Linux), heap and garbage collection by jstat, where it is installed.
type Process struct {
	Broker string
	PID    int
	// Root is /proc, but for tests.
	Root string
}

// Name implements BrokerSource.
func (p Process) Name() string { return p.Broker }

// Read implements BrokerSource.
func (p Process) Read(ctx context.Context) (Reading, error) {
	stat, err := os.ReadFile(filepath.Join(p.Root, strconv.Itoa(p.PID), "stat"))
	if err != nil {
		return Reading{}, fmt.Errorf("process %d: %w", p.PID, err)
	}
	r := Reading{From: "process " + strconv.Itoa(p.PID), Why: "a process tells nothing of it from outside: give its metrics page"}
	if seconds, err := cpuSeconds(string(stat)); err == nil {
		r.CPU = &seconds
	}
	if n, err := p.connections(); err == nil {
		connections := float64(n)
		r.Connections = &connections
	}
	if out, err := exec.CommandContext(ctx, "jstat", "-gc", strconv.Itoa(p.PID)).Output(); err == nil { //nolint:gosec // a number
		if heap, gc, err := parseGC(string(out)); err == nil {
			r.Heap, r.GC = &heap, &gc
		}
	}
	return r, nil
}

// perSecond is the unit of the times in /proc/PID/stat: USER_HZ, which is 100 on every Linux that
// Go runs on.
const perSecond = 100

// cpuSeconds reads what a process used, from its stat line. Its name may have spaces and
// parentheses: fields are counted from the last one.
func cpuSeconds(stat string) (float64, error) {
	_, after, ok := cutLast(stat, ")")
	f := strings.Fields(after)
	if !ok || len(f) < 13 {
		return 0, errors.New("not a stat line")
	}
	user, err := strconv.ParseFloat(f[11], 64)
	system, err2 := strconv.ParseFloat(f[12], 64)
	return (user + system) / perSecond, errors.Join(err, err2)
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// connections counts the established TCP connections that the process has accepted: those at ports
// that it listens at.
func (p Process) connections() (n int, err error) {
	dir := filepath.Join(p.Root, strconv.Itoa(p.PID))
	fds, err := filepath.Glob(filepath.Join(dir, "fd", "*"))
	if err != nil || len(fds) == 0 {
		return 0, errors.New("its files are not shown to this user")
	}
	own := map[string]bool{}
	for _, fd := range fds {
		if target, err := os.Readlink(fd); err == nil {
			if inode, ok := strings.CutPrefix(target, "socket:["); ok {
				own[strings.TrimSuffix(inode, "]")] = true
			}
		}
	}
	listens := map[string]bool{}
	var established []string // local ports
	for _, table := range []string{"tcp", "tcp6"} {
		data, err := os.ReadFile(filepath.Join(dir, "net", table))
		if err != nil {
			return 0, err
		}
		for line := range strings.Lines(string(data)) {
			f := strings.Fields(line)
			if len(f) < 10 || !own[f[9]] {
				continue
			}
			_, port, _ := strings.Cut(f[1], ":")
			if b, err := hex.DecodeString(port); err != nil || len(b) != 2 {
				continue
			}
			switch f[3] {
			case "0A":
				listens[port] = true
			case "01":
				established = append(established, port)
			}
		}
	}
	for _, port := range established {
		if listens[port] {
			n++
		}
	}
	return n, nil
}

// parseGC reads what `jstat -gc` says: bytes in use, and seconds of garbage collection.
func parseGC(out string) (heap, gc float64, err error) {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 2 {
		return 0, 0, errors.New("not the two lines of jstat")
	}
	names, values := strings.Fields(lines[0]), strings.Fields(lines[1])
	if len(names) != len(values) {
		return 0, 0, errors.New("jstat has not as many values as names")
	}
	found := 0
	for i, name := range names {
		v, bad := strconv.ParseFloat(values[i], 64)
		switch name {
		case "S0U", "S1U", "EU", "OU":
			heap += v * 1024
			found++
		case "GCT":
			gc = v
			found++
		default:
			continue
		}
		err = errors.Join(err, bad)
	}
	if found != 5 {
		return 0, 0, errors.New("jstat lacks a column")
	}
	return heap, gc, err
}
