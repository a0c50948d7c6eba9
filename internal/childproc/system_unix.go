//go:build unix

package childproc

import "syscall"

// hasSignals: a process can be asked to end by SIGTERM.
const hasSignals = true

func canGuard() error { return nil }

func ownSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

func (p *Process) killGroup() { _ = syscall.Kill(-p.Pid(), syscall.SIGKILL) }

// Pause stops the process with SIGSTOP; Resume lets it go on.
func (p *Process) Pause() error { return p.Signal(syscall.SIGSTOP) }

// Resume undoes Pause.
func (p *Process) Resume() error { return p.Signal(syscall.SIGCONT) }
