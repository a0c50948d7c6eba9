package admin

import (
	"encoding/json"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ackmark/ackmark/internal/podstate"
)

// source is a pod that a test makes.
type source func() podstate.Pod

func (s source) Pod() *podstate.Pod {
	pod := s()
	return &pod
}

func fixed(pod podstate.Pod) source { return func() podstate.Pod { return pod } }

// get asks as a caller on loopback.
func get(t *testing.T, h http.Handler, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, arrived(t, "GET", path, "localhost:9404", "127.0.0.1:9404", nil))
	return w
}

// Liveness never depends on Kafka, nor on a state that hangs: or every sidecar would restart when
// Kafka is down.
func TestLivenessAsksNobody(t *testing.T) {
	h := Handler(Config{Source: source(func() podstate.Pod {
		t.Error("the state was read")
		return podstate.Pod{}
	})})
	if w := get(t, h, "/healthz"); w.Code != http.StatusOK || w.Body.String() != "alive\n" {
		t.Errorf("%d %q", w.Code, w.Body)
	}
}

// However many ask at once, one state of many partitions is made for all of them, and no answer is
// older than it takes to send it. A small one is always new.
func TestALargeStateIsMadeOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reads, partitions atomic.Int64
		partitions.Store(10_000)
		h := Handler(Config{Source: source(func() podstate.Pod {
			reads.Add(1) // does not sleep: who waits for a lock holds a bubble's clock
			return podstate.Pod{Partitions: make([]podstate.Partition, partitions.Load())}
		})})
		var all sync.WaitGroup
		bodies := make([]string, 64)
		for i := range bodies {
			all.Go(func() {
				w := get(t, h, "/api/status")
				bodies[i] = w.Body.String()
				if code := get(t, h, "/readyz").Code; code != http.StatusOK {
					t.Errorf("/readyz says %d", code)
				}
			})
		}
		all.Wait()
		if n := reads.Load(); n != 1 {
			t.Errorf("the state was made %d times for 64 who asked twice at once", n)
		}
		if len(bodies[0]) < 1<<20 || slices.ContainsFunc(bodies, func(b string) bool { return b != bodies[0] }) {
			t.Errorf("answers of %d bytes that differ", len(bodies[0]))
		}
		time.Sleep(sendTime(len(bodies[0])))
		partitions.Store(1)
		for want := int64(2); want < 5; want++ {
			if get(t, h, "/api/status"); reads.Load() != want {
				t.Errorf("%d readings, want %d", reads.Load(), want)
			}
		}
	})
}

func TestReadyz(t *testing.T) {
	var at atomic.Pointer[reading]
	h := Handler(Config{StallAfter: time.Minute, Source: source(func() podstate.Pod { return *at.Load().pod() })})
	for _, c := range []struct {
		reading reading
		code    int
	}{
		{reading{mark: 1, committed: 1, end: 9}, 200},
		{reading{after: 50 * time.Second, mark: 1, committed: 1, end: 9}, 200},
		{reading{after: 70 * time.Second, mark: 1, committed: 1, end: 9}, 503},
		{reading{after: 80 * time.Second, mark: 2, committed: 2, end: 9}, 200},
	} {
		at.Store(&c.reading)
		w := get(t, h, "/readyz")
		if w.Code != c.code || c.code == 503 && !strings.Contains(w.Body.String(), "orders/3 of group g") {
			t.Errorf("after %s: %d %q", c.reading.after, w.Code, w.Body)
		}
	}
}

// Keys are an app's data: neither they nor their hashes, which a short one is guessed from, are
// shown to who connects.
func TestStatus(t *testing.T) {
	pod := podstate.Pod{Time: noon, Partitions: []podstate.Partition{{
		Topic: "orders", Oldest: &podstate.Oldest{Offset: 7, Key: "canary-key", KeyHash: "00112233aabbccdd"},
	}}}
	w := get(t, Handler(Config{Source: fixed(pod)}), "/api/status")
	if got := w.Header().Get("Content-Type"); got != "application/json" {
		t.Errorf("it is %s", got)
	}
	if text := w.Body.String(); strings.Contains(text, "canary") || strings.Contains(text, "key_hash") {
		t.Errorf("a key is shown: %s", text)
	}
	var got podstate.Pod
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || len(got.Partitions) != 1 || got.Partitions[0].Oldest.Offset != 7 {
		t.Errorf("%v: %s", err, w.Body)
	}
}

// A peer may tell of a time that JSON has no form for.
func TestAStateThatCannotBeWritten(t *testing.T) {
	pod := podstate.Pod{Time: time.Date(12345, 1, 1, 0, 0, 0, 0, time.UTC)}
	if w := get(t, Handler(Config{Source: fixed(pod)}), "/api/status"); w.Code != http.StatusInternalServerError {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestMetricsAndProfilesAreAsConfigured(t *testing.T) {
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("a_metric 1\n")) })
	for path, c := range map[string]struct {
		cfg  Config
		want int
	}{
		"/metrics":                           {Config{}, 404},
		"/metrics?x":                         {Config{Metrics: metrics}, 200},
		"/debug/pprof/":                      {Config{}, 404},
		"/debug/pprof/heap":                  {Config{}, 404},
		"/debug/pprof/?":                     {Config{Profiles: true}, 200},
		"/debug/pprof/heap?":                 {Config{Profiles: true}, 200},
		"/debug/pprof/goroutine?debug=1":     {Config{Profiles: true}, 200},
		"/debug/pprof/nothing":               {Config{Profiles: true}, 404},
		"/debug/pprof/cmdline":               {Config{Profiles: true}, 404}, // flags may hold secrets
		"/debug/pprof/profile?seconds=0":     {Config{Profiles: true}, 400},
		"/debug/pprof/profile?seconds=86400": {Config{Profiles: true}, 400},
		"/debug/pprof/trace?seconds=x":       {Config{Profiles: true}, 400},
	} {
		c.cfg.Source = fixed(podstate.Pod{})
		if w := get(t, Handler(c.cfg), path); w.Code != c.want {
			t.Errorf("%s: %d, want %d: %.80s", path, w.Code, c.want, w.Body)
		}
	}
	if _, pattern := http.DefaultServeMux.Handler(httptest.NewRequest(http.MethodGet, "/debug/pprof/", nil)); pattern != "" {
		t.Error("profiles are in http.DefaultServeMux: a program that serves it shows them to everybody")
	}
}

// The page and what it loads are whole, and hold nothing that its policy forbids.
func TestThePage(t *testing.T) {
	h := Handler(Config{Source: fixed(podstate.Pod{})})
	for path, kind := range map[string]string{
		"/": "text/html", "/page/page.css": "text/css", "/page/main.js": "text/javascript", "/page/uplot/uPlot.iife.min.js": "text/javascript", "/page/icon.svg": "image/svg+xml",
	} {
		if w := get(t, h, path); w.Code != 200 || !strings.HasPrefix(w.Header().Get("Content-Type"), kind) {
			t.Errorf("%s: %d %s", path, w.Code, w.Header().Get("Content-Type"))
		}
	}
	for _, path := range []string{"/page/", "/page", "/page/nothing.js", "/page/../handler.go", "/nothing", "/api/", "/debug/"} {
		if w := get(t, h, path); w.Code == 200 {
			t.Errorf("%s is answered: %.80s", path, w.Body)
		}
	}
	err := fs.WalkDir(page, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.Contains(name, "uplot/") {
			return err
		}
		text, err := fs.ReadFile(page, name)
		for _, never := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", " style=", "onclick=", "javascript:", "https://", "<script>", "<style"} {
			if strings.Contains(string(text), never) {
				t.Errorf("%s has %q", name, never)
			}
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
