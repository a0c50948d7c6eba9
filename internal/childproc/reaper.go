package childproc

import (
	"fmt"
	"os"
	"os/exec"
	"sync"
)

// RemoveAtDeath makes the reaper remove a directory when this process ends without having removed
// it.
func RemoveAtDeath(dir string) error { return reaper.tell("dir %s", dir) }

var reaper reaperProcess

// reaperProcess is the one shell that outlives this process for a moment. It is started on first
// use and never waited for.
type reaperProcess struct {
	mu   sync.Mutex
	pipe *os.File
}

const reaperScript = `
while read -r verb arg; do
	case $verb in
	run) live="$live $arg" ;;
	end) rest=; for p in $live; do [ "$p" = "$arg" ] || rest="$rest $p"; done; live=$rest ;;
	dir) set -- "$@" "$arg" ;;
	esac
done
for p in $live; do kill -s KILL -- "-$p" 2>/dev/null; done
[ $# -gt 0 ] || exit 0
rm -rf "$@" 2>/dev/null && exit 0
sleep 1
rm -rf "$@"
`

func (r *reaperProcess) tell(format string, args ...any) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pipe == nil {
		if err := r.start(); err != nil {
			return fmt.Errorf("reaper: %w", err)
		}
	}
	if _, err := fmt.Fprintf(r.pipe, format+"\n", args...); err != nil {
		return fmt.Errorf("reaper: %w", err)
	}
	return nil
}

func (r *reaperProcess) start() error {
	rd, wr, err := os.Pipe() // both close-on-exec: no other child may hold the write end, or the end of this process would go unseen
	if err != nil {
		return err
	}
	defer rd.Close()
	cmd := exec.Command("/bin/sh", "-c", reaperScript, "ackmark-reaper")
	cmd.Stdin = rd
	cmd.Dir = "/"
	cmd.SysProcAttr = ownSession() // a Ctrl-C at the terminal must not reach it
	if err := cmd.Start(); err != nil {
		wr.Close()
		return err
	}
	r.pipe = wr
	return nil
}
