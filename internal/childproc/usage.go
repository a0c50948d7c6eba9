package childproc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"
)

// Resident is the resident set of a process in bytes. It needs Linux.
func Resident(pid int) (int64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, err
	}
	fields := bytes.Fields(data)
	if len(fields) < 2 {
		return 0, fmt.Errorf("/proc/%d/statm says %q", pid, data)
	}
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	return pages * int64(os.Getpagesize()), err
}

// cpuStep is the unit of /proc's times: USER_HZ is 100 on every Linux that Go runs on.
const cpuStep = 10 * time.Millisecond

// CPUTime is the user and system time of a process that runs, with all its threads, in steps of 10
// ms. It needs Linux.
func CPUTime(pid int) (time.Duration, error) {
	name := fmt.Sprintf("/proc/%d/stat", pid)
	data, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	_, rest, _ := bytes.Cut(data, []byte(") ")) // behind the command's name
	fields := bytes.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("%s says %q", name, data)
	}
	user, err := strconv.Atoi(string(fields[11]))
	system, err2 := strconv.Atoi(string(fields[12]))
	return time.Duration(user+system) * cpuStep, errors.Join(err, err2)
}

// OwnPeakResident is the largest resident set of this process so far; 0 where the system does not
// tell.
func OwnPeakResident() int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := bytes.Cut(status, []byte("VmHWM:"))
	line, _, _ := bytes.Cut(rest, []byte("kB"))
	kib, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 10, 64)
	if err != nil {
		return 0
	}
	return kib << 10
}
