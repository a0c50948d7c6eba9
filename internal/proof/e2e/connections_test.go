package e2e

import (
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/ackmark/ackmark/internal/childproc"
)

// connections counts a process's established TCP connections to the brokers, as the kernel lists
// them.
func (s *scenario) connections(p *childproc.Process) (n int) {
	s.Helper()
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", p.Pid()))
	if err != nil || len(fds) == 0 {
		s.Skip("connections are counted in /proc, which this system does not have")
	}
	own := map[string]bool{}
	for _, fd := range fds {
		if target, err := os.Readlink(fd); err == nil {
			if inode, ok := strings.CutPrefix(target, "socket:["); ok {
				own[strings.TrimSuffix(inode, "]")] = true
			}
		}
	}
	for _, table := range []string{"tcp", "tcp6"} {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", p.Pid(), table))
		if err != nil {
			s.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			f := strings.Fields(line)
			if len(f) > 9 && f[3] == "01" && own[f[9]] && slices.Contains(s.ports(), remotePort(f[2])) {
				n++
			}
		}
	}
	return n
}

// ports are those of the brokers.
func (s *scenario) ports() (ports []int) {
	for _, addr := range s.kafka.Addrs() {
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			s.Fatal(err)
		}
		n, _ := strconv.Atoi(port)
		ports = append(ports, n)
	}
	return ports
}

// remotePort reads "0100007F:9C40".
func remotePort(addr string) int {
	_, port, _ := strings.Cut(addr, ":")
	b, err := hex.DecodeString(port)
	if err != nil || len(b) != 2 {
		return -1
	}
	return int(b[0])<<8 | int(b[1])
}
