//go:build !unix

package childproc

import (
	"errors"
	"syscall"
)

// hasSignals: Windows knows only how to kill.
const hasSignals = false

var errNotHere = errors.New("needs a Unix: a shell, process groups, SIGSTOP")

func canGuard() error { return errNotHere }

func ownGroup() *syscall.SysProcAttr { return nil }

func ownSession() *syscall.SysProcAttr { return nil }

func (p *Process) killGroup() { _ = p.cmd.Process.Kill() }

// Pause stops the process with SIGSTOP; Resume lets it go on.
func (p *Process) Pause() error { return errNotHere }

// Resume undoes Pause.
func (p *Process) Resume() error { return errNotHere }
