package admin

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/ackmark/ackmark/internal/podstate"
)

// DefaultStallAfter is that of Config: as long as a handler may take, if nobody says otherwise.
const DefaultStallAfter = 5 * time.Minute

// Source is what is shown: a *sidecar.Server, or, without one, a *pipeline.Pipeline, or a
// *consumer.Consumer of a loop of your own.
type Source interface {
	// Pod reads the state, without asking a broker; what it returns is the caller's. Its type
	// is of this module; /api/status shows it, and docs/operations.md says what it means.
	Pod() *podstate.Pod
}

// Config of a handler. Only Source is required.
type Config struct {
	// Source is what is shown.
	Source Source
	// Metrics answers /metrics. Nil: nothing does.
	Metrics http.Handler
	// Hosts are further names by which the server may be called: those of a Service, an Ingress or
	// a proxy, without a port. Names of loopback, and the address that a connection came to, always
	// may. Under any other name nothing is answered: a web site could give its own name this
	// address, and read everything with its visitors' browsers.
	Hosts []string
	// StallAfter is how long a partition with input may stand still until /readyz says so. Default
	// 5 minutes.
	StallAfter time.Duration
	// Profiles serves those of the runtime under /debug/pprof/: they cost time, and show what the
	// process works on.
	Profiles bool
}

//go:embed page
var page embed.FS

// admin answers what is asked of one source.
type admin struct {
	source     Source
	stallAfter time.Duration

	reading sync.Mutex // one reads at a time, whoever asks how often
	large   state      // the last one, if it is large

	mu   sync.Mutex
	seen progress
}

// state is one reading, as JSON, and what is wrong in it.
type state struct {
	at    time.Time
	line  []byte
	wrong []string
}

// Handler returns the handler of the paths that the package names. It starts nothing: what is shown
// is read when somebody asks.
func Handler(cfg Config) http.Handler {
	if cfg.StallAfter <= 0 {
		cfg.StallAfter = DefaultStallAfter
	}
	a := &admin{source: cfg.Source, stallAfter: cfg.StallAfter}
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", a.page)
	mux.HandleFunc("/page/", a.asset)
	mux.HandleFunc("/api/status", a.status)
	mux.Handle("/api/events", newEvents(a.event))
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "alive") })
	mux.HandleFunc("/readyz", a.ready)
	if cfg.Metrics != nil {
		mux.Handle("/metrics", cfg.Metrics)
	}
	if cfg.Profiles {
		mux.HandleFunc(profilesPath+"{profile...}", profiles)
	}
	g := &guard{next: mux}
	for _, host := range cfg.Hosts {
		g.hosts = append(g.hosts, hostName(host))
	}
	return g
}

// read reads the state, and remembers where each partition stands. It says what is wrong.
func (a *admin) read() (*podstate.Pod, []string) {
	pod := a.source.Pod()
	for i := range pod.Partitions {
		if o := pod.Partitions[i].Oldest; o != nil { // a key is an app's data, and a short one is guessed from its hash
			o.Key, o.KeyHash = "", ""
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	var wrong []string
	a.seen, wrong = judge(a.seen, pod, a.stallAfter)
	return pod, wrong
}

// largeState is from where on a reading is shared by who asks soon after.
const largeState = 64 << 10

// look is the state now. One is made at a time, and a large one is that of all who ask in the time
// that eventBytes a second take to send it: sixty-four callers who ask at once for 10,000
// partitions cost their sidecar what one does.
func (a *admin) look() state {
	a.reading.Lock()
	defer a.reading.Unlock()
	if n := len(a.large.line); n > 0 && time.Since(a.large.at) < sendTime(n) {
		return a.large
	}
	a.large = state{}
	pod, wrong := a.read()
	now := state{at: time.Now(), wrong: wrong}
	if line, err := json.Marshal(pod); err == nil {
		now.line = append(line, '\n')
	}
	if len(now.line) >= largeState {
		a.large = now
	}
	return now
}

func (a *admin) ready(w http.ResponseWriter, _ *http.Request) {
	if wrong := a.look().wrong; len(wrong) > 0 {
		http.Error(w, strings.TrimSuffix(unready(wrong), "\n"), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ready")
}

func (a *admin) status(w http.ResponseWriter, _ *http.Request) {
	line := a.look().line
	if line == nil {
		http.Error(w, "the state has a time that cannot be written", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(line) // who reads it is gone
}

// event is the state as one line; nil where it has a time that JSON has no form for.
func (a *admin) event() []byte { return bytes.TrimSuffix(a.look().line, []byte("\n")) }

func (a *admin) page(w http.ResponseWriter, r *http.Request) { sendFile(w, r, "page/index.html") }

func (a *admin) asset(w http.ResponseWriter, r *http.Request) {
	sendFile(w, r, strings.TrimPrefix(r.URL.Path, "/"))
}

// sendFile sends one file of the page.
func sendFile(w http.ResponseWriter, r *http.Request, name string) {
	if info, err := fs.Stat(page, name); err != nil || info.IsDir() {
		http.NotFound(w, r)
		return
	}
	http.ServeFileFS(w, r, page, name)
}
