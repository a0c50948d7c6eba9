//go:build !unix

package proc

import (
	"errors"
	"syscall"
)

var errNotHere = errors.New("needs a Unix: a shell, process groups, SIGSTOP")

func supported() error { return errNotHere }

func ownGroup() *syscall.SysProcAttr { return nil }

func ownSession() *syscall.SysProcAttr { return nil }

func killGroup(int) {}

// Pause stops the process with SIGSTOP; Resume lets it go on.
func (p *Process) Pause() error { return errNotHere }

// Resume undoes Pause.
func (p *Process) Resume() error { return errNotHere }
