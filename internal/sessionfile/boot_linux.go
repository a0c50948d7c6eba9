//go:build !portable

package sessionfile

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b)), err
}

func pidNamespace() string {
	name, _ := os.Readlink("/proc/self/ns/pid")
	return name
}

// Find returns what tells a process from another one with its id; false if there is none.
func Find(pid int32) (Process, bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Process{}, false
	}
	// Behind the name, which may hold anything: proc(5), field 22 is the 20th from there.
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) < 20 {
		return Process{}, false
	}
	start, err := strconv.ParseUint(string(fields[19]), 10, 64)
	return Process{PID: pid, Start: start}, err == nil
}
