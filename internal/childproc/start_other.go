//go:build !linux

package childproc

import "os/exec"

// startFromOneThread starts a process: the thread matters on Linux only.
func startFromOneThread(cmd *exec.Cmd) error { return cmd.Start() }

func startedHasEnded() {}
