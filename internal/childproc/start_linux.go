package childproc

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// ownGroup: a process group of its own, and death with the parent.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// starter is the thread that starts all processes. It lives as long as any of them does.
var starter struct {
	mu       sync.Mutex
	living   int
	requests chan request
}

type request struct {
	cmd  *exec.Cmd
	done chan error
}

// startFromOneThread starts a process. startedHasEnded is called when it was waited for.
func startFromOneThread(cmd *exec.Cmd) error {
	r := request{cmd, make(chan error, 1)}
	starter.mu.Lock()
	if starter.living == 0 {
		requests := make(chan request)
		starter.requests = requests
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			for r := range requests {
				r.done <- r.cmd.Start()
			}
		}()
	}
	starter.living++
	starter.requests <- r
	starter.mu.Unlock()
	err := <-r.done
	if err != nil {
		startedHasEnded()
	}
	return err
}

func startedHasEnded() {
	starter.mu.Lock()
	defer starter.mu.Unlock()
	if starter.living--; starter.living == 0 {
		close(starter.requests)
	}
}
