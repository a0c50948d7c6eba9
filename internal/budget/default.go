package budget

import (
	"io/fs"
	"math"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
)

// The default budget: a quarter of the memory that the process may use, because the same records
// also live in the client's fetch buffers, in the handler and in the garbage that the collector has
// not taken yet.
const (
	share        = 4
	minDefault   = 8 << 20
	maxDefault   = 256 << 20
	unknownLimit = 64 << 20
)

// DefaultBytes returns a quarter of the process's memory limit, at least 8 MiB and at most 256 MiB;
// 64 MiB when no limit is known. The limit is the smallest of GOMEMLIMIT (or what
// debug.SetMemoryLimit set) and the memory limits of the process's cgroup, version 2 or 1, and of
// those above it, as far as they are mounted at /sys/fs/cgroup.
//
// It does not use automemlimit, which exists to set GOMEMLIMIT for the whole process: a library
// must not do that to its host.
func DefaultBytes() int64 {
	return defaultBytes(os.DirFS("/"), debug.SetMemoryLimit(-1))
}

func defaultBytes(root fs.FS, goLimit int64) int64 {
	limit := min(goLimit, cgroupLimit(root))
	if limit == math.MaxInt64 {
		return unknownLimit
	}
	return min(max(limit/share, minDefault), maxDefault)
}

// cgroupLimit returns the smallest memory limit from the process's cgroup up to the root of what is
// mounted; math.MaxInt64 if there is none.
//
// In a container the mounted root is usually the process's own cgroup, and its path either "/" or
// one that exists only outside. So every step of the path is tried, and a file that is not there
// does not count.
func cgroupLimit(root fs.FS) int64 {
	limit := int64(math.MaxInt64)
	for _, dir := range cgroupDirs(root) {
		for _, file := range []string{"memory.max", "memory.limit_in_bytes"} {
			limit = min(limit, readLimit(root, path.Join(dir, file)))
		}
	}
	return limit
}

// cgroupDirs lists the directories that may hold a limit, from /proc/self/cgroup: lines
// "hierarchy:controllers:path", where version 2 has the hierarchy 0 without controllers and version
// 1 one hierarchy with the controller memory.
func cgroupDirs(root fs.FS) []string {
	const mount = "sys/fs/cgroup"
	dirs := []string{mount, mount + "/memory"}
	lines, _ := fs.ReadFile(root, "proc/self/cgroup")
	for line := range strings.Lines(string(lines)) {
		hierarchy, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, where, _ := strings.Cut(rest, ":")
		base := mount
		switch {
		case hierarchy == "0" && controllers == "":
		case hasController(controllers, "memory"):
			base += "/memory"
		default:
			continue
		}
		// The path is absolute, so Join removes any "..": another namespace's paths can begin with
		// it.
		for p := path.Join("/", where); p != "/"; p = path.Dir(p) {
			dirs = append(dirs, path.Join(base, p))
		}
	}
	return dirs
}

func hasController(list, name string) bool {
	for c := range strings.SplitSeq(list, ",") {
		if c == name {
			return true
		}
	}
	return false
}

// readLimit reads one limit. Version 2 writes "max" for none, version 1 the largest multiple of the
// page size.
func readLimit(root fs.FS, name string) int64 {
	const none = math.MaxInt64 - 1<<20
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return math.MaxInt64
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil || n <= 0 || n >= none {
		return math.MaxInt64
	}
	return n
}
