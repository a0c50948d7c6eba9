package chaos

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"time"
)

// profilesEnv names a directory into which every child writes a profile of its heap, each after a
// collection, and of its goroutines, for as long as it lives: which growth is a leak they show.
const profilesEnv = "ACKMARK_PROFILES"

const profileEvery = 15 * time.Second

// profile writes profiles until the process ends, if there is a directory for them.
func (s *spec) profile(dir string) {
	for n := 1; dir != ""; n++ {
		time.Sleep(profileEvery)
		runtime.GC()
		for _, kind := range []string{"heap", "goroutine"} {
			f, err := os.Create(filepath.Join(dir, fmt.Sprintf("%s.%03d.%s", s.by, n, kind)))
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				return
			}
			_ = pprof.Lookup(kind).WriteTo(f, 0)
			_ = f.Close()
		}
	}
}
