package admin

import (
	"context"
	"fmt"
	"net/http"
	"runtime/pprof"
	"runtime/trace"
	"slices"
	"strconv"
	"time"
)

// profilesPath is where `go tool pprof` looks for profiles. Package net/http/pprof is not used: to
// import it puts them into http.DefaultServeMux, and a program that serves that one would show them
// to everybody.
const profilesPath = "/debug/pprof/"

const (
	defaultProfile = 30 // seconds
	longestProfile = 120
)

// profiles are those of the runtime.
func profiles(w http.ResponseWriter, r *http.Request) {
	switch name := r.PathValue("profile"); name {
	case "":
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprintln(w, "profile  of the processor, ?seconds=30\ntrace    of the execution, ?seconds=1")
		for _, p := range pprof.Profiles() {
			fmt.Fprintf(w, "%-8s %d\n", p.Name(), p.Count())
		}
	case "profile":
		record(w, r, defaultProfile, func() error { return pprof.StartCPUProfile(w) }, pprof.StopCPUProfile)
	case "trace":
		record(w, r, 1, func() error { return trace.Start(w) }, trace.Stop)
	default:
		lookup(w, r, name)
	}
}

func lookup(w http.ResponseWriter, r *http.Request, name string) {
	p := pprof.Lookup(name)
	if p == nil {
		http.Error(w, "there is no profile of this name: see "+profilesPath, http.StatusNotFound)
		return
	}
	debug, err := strconv.Atoi(r.FormValue("debug"))
	if err != nil || !slices.Contains([]int{1, 2}, debug) {
		debug = 0
		w.Header().Set("Content-Type", "application/octet-stream")
	} else {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	}
	_ = p.WriteTo(w, debug) // who reads it is gone
}

// record takes a profile for as long as is asked for, which is bounded.
func record(w http.ResponseWriter, r *http.Request, seconds int, start func() error, stop func()) {
	if text := r.FormValue("seconds"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > longestProfile {
			http.Error(w, fmt.Sprintf("seconds must be 1 to %d", longestProfile), http.StatusBadRequest)
			return
		}
		seconds = n
	}
	length := time.Duration(seconds) * time.Second
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(length + writeTimeout)) // where it cannot be, it is the server's
	w.Header().Set("Content-Type", "application/octet-stream")
	if err := start(); err != nil {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		http.Error(w, "one is being taken already: "+err.Error(), http.StatusConflict)
		return
	}
	defer stop()
	ctx, cancel := context.WithTimeout(r.Context(), length)
	defer cancel()
	<-ctx.Done()
}
