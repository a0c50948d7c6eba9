package exporter

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ackmark/ackmark/internal/childproc"
)

// page writes a text.
func page(text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "" {
			http.Error(w, "compressed twice", http.StatusTeapot)
			return
		}
		w.Header().Set("Content-Type", "text/plain; of=metrics")
		_, _ = io.WriteString(w, text)
	})
}

func ask(encoding ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody)
	r.Header["Accept-Encoding"] = encoding
	return r
}

// A scrape is answered compressed to who takes that, and as text to others: with the same text.
func TestAnswersAreCompressed(t *testing.T) {
	text := strings.Repeat("ackmark_some_metric{topic=\"t\"} 1\n", 10_000)
	a := newAnswers(page(text))
	for name, x := range map[string]struct {
		encoding []string
		zipped   bool
	}{
		"as Prometheus asks": {[]string{"gzip"}, true}, "one of several": {[]string{"zstd;q=1, gzip ;q=0.5"}, true}, "a second header": {[]string{"br", "GZIP"}, true},
		"anything": {[]string{"*"}, true}, "nothing said": {nil, false}, "none": {[]string{"identity"}, false}, "refused": {[]string{"gzip;q=0, *"}, false},
		"garbage": {[]string{";;q=,gzip;q=x"}, false},
	} {
		w := httptest.NewRecorder()
		a.ServeHTTP(w, ask(x.encoding...))
		body := io.Reader(w.Body)
		if got := w.Header().Get("Content-Encoding") == "gzip"; got != x.zipped {
			t.Errorf("%s: compressed %t, want %t", name, got, x.zipped)
			continue
		}
		if x.zipped {
			if w.Body.Len() > len(text)/10 {
				t.Errorf("%s: %d bytes for %d", name, w.Body.Len(), len(text))
			}
			zipped, err := gzip.NewReader(w.Body)
			if err != nil {
				t.Fatal(err)
			}
			body = zipped
		}
		got, err := io.ReadAll(body)
		if err != nil || string(got) != text || w.Header().Get("Content-Type") != "text/plain; of=metrics" {
			t.Errorf("%s: %d bytes, %v, %v", name, len(got), w.Header(), err)
		}
	}
}

// slow is a scraper that does not read until it is let, or its time is over.
type slow struct {
	http.ResponseWriter
	writes chan struct{} // told of the first
	until  time.Time
	let    chan struct{}
	told   bool
}

func (s *slow) SetWriteDeadline(at time.Time) error {
	s.until = at
	return nil
}

func (s *slow) Write(b []byte) (int, error) {
	if !s.told {
		s.told = true
		s.writes <- struct{}{}
	}
	late := time.NewTimer(time.Until(s.until))
	defer late.Stop()
	select {
	case <-s.let:
		return len(b), nil
	case <-late.C:
		return 0, context.DeadlineExceeded
	}
}

// Scrapers that do not read hold their places for ten seconds, and others are told to come later.
func TestSlowScrapersGiveTheirPlacesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAnswers(page(strings.Repeat("x 1\n", 1000)))
		writes := make(chan struct{}, scrapes)
		begun := time.Now()
		for range scrapes {
			go a.ServeHTTP(&slow{ResponseWriter: httptest.NewRecorder(), writes: writes}, ask("gzip"))
		}
		for range scrapes {
			<-writes
		}
		w := httptest.NewRecorder()
		a.ServeHTTP(w, ask())
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
			t.Errorf("one more is answered with %d", w.Code)
		}
		for len(a.places) > 0 {
			time.Sleep(time.Second)
		}
		if took := time.Since(begun); took > scrapeTimeout+time.Second {
			t.Errorf("they held their places for %v", took)
		}
		w = httptest.NewRecorder()
		if a.ServeHTTP(w, ask()); w.Code != http.StatusOK {
			t.Errorf("the next one is answered with %d", w.Code)
		}
	})
}

// One that is made and does not end keeps the others from nothing but an answer: they are told so
// in time.
func TestAScrapeThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		let := make(chan struct{})
		a := newAnswers(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-let }))
		go a.ServeHTTP(httptest.NewRecorder(), ask())
		synctest.Wait()
		begun, w := time.Now(), httptest.NewRecorder()
		a.ServeHTTP(w, ask())
		if took := time.Since(begun); w.Code != http.StatusServiceUnavailable || took != scrapeTimeout {
			t.Errorf("%d after %v", w.Code, took)
		}
		close(let)
	})
}

// Scrapers that do not read hold what was compressed, whether they take that or not, and no more.
func TestSlowScrapersHoldNoMemory(t *testing.T) {
	text := strings.Repeat("ackmark_some_metric{topic=\"a topic of ours\"} 1\n", 100_000)
	a := newAnswers(page(text))
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	writes, let, ended := make(chan struct{}, scrapes), make(chan struct{}), make(chan struct{}, scrapes)
	for i := range scrapes {
		go func() {
			var encoding []string
			if i%2 == 0 {
				encoding = []string{"gzip"}
			}
			a.ServeHTTP(&slow{ResponseWriter: httptest.NewRecorder(), writes: writes, let: let}, ask(encoding...))
			ended <- struct{}{}
		}()
	}
	for range scrapes {
		<-writes
	}
	held := int64(heap()) - int64(before)
	close(let)
	for range scrapes {
		<-ended
	}
	if held > int64(len(text)) {
		t.Errorf("%d scrapers that do not read hold %d bytes; one answer has %d", scrapes, held, len(text))
	}
}

// What is larger than may be told is an error that says what to do, not half an answer.
func TestAnswersAreBounded(t *testing.T) {
	random := make([]byte, 1<<20)
	for i := range random {
		random[i] = byte(rand.Int())
	}
	a := newAnswers(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for chunk := bytes.NewBuffer(random); chunk.Len() > 0; {
			if _, err := w.Write(chunk.Next(4096)); err != nil {
				return
			}
		}
	}))
	a.most = 256 << 10
	w := httptest.NewRecorder()
	a.ServeHTTP(w, ask("gzip"))
	if w.Code != http.StatusInternalServerError || !strings.Contains(w.Body.String(), "--metrics-per-topic") {
		t.Errorf("%d: %.100q", w.Code, w.Body)
	}
}

// BenchmarkScrape is what an answer of 400 series costs beside making its text.
func BenchmarkScrape(b *testing.B) {
	var text strings.Builder
	for i := range 400 {
		fmt.Fprintf(&text, "ackmark_sidecar_queue_records{otel_scope_name=\"sidecar\",topic=\"orders\",partition=\"%d\"} %d\n", i%48, i*i*7919)
	}
	a := newAnswers(page(text.String()))
	b.ReportAllocs()
	began := childproc.OwnCPUTime()
	for b.Loop() {
		a.ServeHTTP(httptest.NewRecorder(), ask("gzip"))
	}
	b.ReportMetric(float64((childproc.OwnCPUTime()-began).Microseconds())/float64(b.N), "cpu-us/op")
}
