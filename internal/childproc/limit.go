package childproc

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// watchEvery is how often the resident set is read. A handler that leaks at 1 GB/s is 2 MB
	// beyond the limit when it is found.
	watchEvery = 2 * time.Millisecond
	// goShare is what GOMEMLIMIT gets of the limit, in per cent: the usual advice for containers.
	goShare = 90
)

// Limit bounds the memory of each child process that it is given to, and has whoever exceeds the
// bound killed with SIGKILL, as the kernel does in a container. Nil bounds nothing.
type Limit struct {
	bytes  int64
	name   string // of cgroups
	parent string // cgroup in which each process gets one of its own; "": the watcher kills
	why    string // there is no cgroup
	peak   atomic.Int64
	next   atomic.Int64
	wait   sync.WaitGroup
}

// NewLimit takes the best that this machine allows. name begins the names of cgroups.
func NewLimit(bytes int64, name string) (*Limit, error) {
	if _, err := Resident(os.Getpid()); err != nil {
		return nil, fmt.Errorf("needs Linux, whose /proc tells what a process uses: %w", err)
	}
	l := &Limit{bytes: bytes, name: name}
	parent, err := memoryCgroup("/")
	if err == nil {
		l.parent = parent
		err = l.probe()
	}
	if err != nil {
		l.parent, l.why = "", err.Error()
	}
	return l, nil
}

// Bytes is the bound.
func (l *Limit) Bytes() int64 { return l.bytes }

// Mechanism says which kind of limit runs. RLIMIT_AS is none for Go: it counts reserved addresses,
// and a Go process that uses 2 MB does not start with 512 MB of them.
func (l *Limit) Mechanism() string {
	if l.parent != "" {
		return "cgroup v2: memory.max, and the kernel kills"
	}
	return fmt.Sprintf("a watcher that reads the resident set every %s and kills with SIGKILL at the limit (%s)", watchEvery, l.why)
}

// probe starts a process under the limit that ends at once.
func (l *Limit) probe() error {
	cmd := exec.Command("/bin/true")
	done, err := l.prepare(cmd)
	if err != nil {
		return err
	}
	defer done()
	return cmd.Run()
}

// prepare makes cmd start under the limit. Call done when the process has ended.
func (l *Limit) prepare(cmd *exec.Cmd) (done func(), err error) {
	if l == nil {
		return func() {}, nil
	}
	cmd.Env = append(cmd.Env, fmt.Sprintf("GOMEMLIMIT=%d", l.bytes*goShare/100)) // what a container's owner sets
	if l.parent == "" {
		return func() {}, nil
	}
	dir := filepath.Join(l.parent, fmt.Sprintf("%s-%d-%d", l.name, os.Getpid(), l.next.Add(1)))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	remove := func() { _ = os.Remove(dir) } // a cgroup is removed as an empty directory is
	if err := limitCgroup(dir, l.bytes); err != nil {
		remove()
		return nil, err
	}
	closeDir, err := startIn(cmd, dir)
	if err != nil {
		remove()
		return nil, err
	}
	return func() { closeDir(); remove() }, nil
}

// limitCgroup writes the limit. Swap would let a process live on beyond it; where it is not
// accounted the file is missing.
func limitCgroup(dir string, limit int64) error {
	if err := os.WriteFile(filepath.Join(dir, "memory.swap.max"), []byte("0"), 0o644); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "memory.max"), strconv.AppendInt(nil, limit, 10), 0o644)
}

// watch follows a process until it ends, keeps the peak, and kills where the kernel does not.
func (l *Limit) watch(p *Process) {
	if l == nil {
		return
	}
	l.wait.Go(func() {
		t := time.NewTicker(watchEvery)
		defer t.Stop()
		for {
			if rss, err := Resident(p.Pid()); err == nil {
				for old := l.peak.Load(); rss > old && !l.peak.CompareAndSwap(old, rss); old = l.peak.Load() {
				}
				if rss > l.bytes && l.parent == "" {
					_ = p.cmd.Process.Kill() // it may have ended by now; the handle is of this process, not of its number
				}
			}
			select {
			case <-p.done:
				return
			case <-t.C:
			}
		}
	})
}

// Close waits until nobody is watched any more: all processes have ended.
func (l *Limit) Close() { l.wait.Wait() }

// TakePeak returns the highest resident set of any process since the last call.
func (l *Limit) TakePeak() int64 { return l.peak.Swap(0) }

// memoryCgroup finds a cgroup of version 2 whose children have memory limits: the own one, or one
// above it. It changes nothing in it: who does not allow that by his own setting has his reasons.
func memoryCgroup(root string) (string, error) {
	mount := filepath.Join(root, "sys/fs/cgroup")
	if controllers, err := os.ReadFile(filepath.Join(mount, "cgroup.controllers")); err != nil || !hasWord(controllers, "memory") {
		return "", errors.New("no cgroup v2 with memory limits at /sys/fs/cgroup")
	}
	own, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return "", err
	}
	path := "/"
	for line := range strings.Lines(string(own)) {
		if p, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			path = filepath.Clean("/" + p)
		}
	}
	for ; ; path = filepath.Dir(path) {
		dir := filepath.Join(mount, path)
		if handed, err := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control")); err == nil && hasWord(handed, "memory") {
			return dir, nil
		}
		if path == "/" {
			return "", errors.New("no cgroup of this process hands memory limits to its children")
		}
	}
}

func hasWord(data []byte, word string) bool {
	for _, w := range strings.Fields(string(data)) {
		if w == word {
			return true
		}
	}
	return false
}
