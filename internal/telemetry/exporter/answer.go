package exporter

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	scrapes       = 8 // at the same time
	scrapeTimeout = 10 * time.Second
	// maxScrape bounds an answer, compressed: a thousand bytes for each of so many partitions.
	maxScrape = 32 << 20
)

// answers gives each scrape what inner writes, made for one scrape at a time and kept compressed:
// a scraper that reads slowly holds that, and no longer than its time.
type answers struct {
	inner   http.Handler
	places  chan struct{}
	making  chan struct{} // one at a time
	timeout time.Duration
	most    int
}

func newAnswers(inner http.Handler) *answers {
	return &answers{inner, make(chan struct{}, scrapes), make(chan struct{}, 1), scrapeTimeout, maxScrape}
}

// ServeHTTP implements http.Handler.
func (a *answers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	select {
	case a.places <- struct{}{}:
		defer func() { <-a.places }()
	default:
		busy(w, fmt.Sprintf("%d scrapes are being answered already: come again later", cap(a.places)))
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), a.timeout)
	defer cancel()
	select {
	case a.making <- struct{}{}:
	case <-ctx.Done():
		busy(w, "the scrapes before this one take too long")
		return
	}
	page, err := a.make(r)
	<-a.making
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(a.timeout)) // where it cannot be, it is the server's
	page.send(w, takesGzip(r))
}

func busy(w http.ResponseWriter, why string) {
	w.Header().Set("Retry-After", strconv.Itoa(int(scrapeTimeout/time.Second)))
	http.Error(w, why, http.StatusServiceUnavailable)
}

// writers are kept from scrape to scrape, as long as the garbage collector likes: one is 1.2 MB.
var writers = sync.Pool{New: func() any {
	w, _ := gzip.NewWriterLevel(io.Discard, gzip.BestSpeed) // the level is one
	return w
}}

// make has inner write an answer.
func (a *answers) make(r *http.Request) (*scraped, error) {
	page := &scraped{header: http.Header{}, status: http.StatusOK, most: a.most, gzip: writers.Get().(*gzip.Writer)}
	page.gzip.Reset(&page.body)
	plain := r.Clone(r.Context())
	plain.Header.Del("Accept-Encoding")
	a.inner.ServeHTTP(page, plain)
	if err := page.gzip.Close(); err != nil && page.wrong == nil {
		page.wrong = err
	}
	page.gzip.Reset(io.Discard)
	writers.Put(page.gzip)
	page.gzip = nil
	return page, page.wrong
}

// scraped is an answer, compressed. It is the http.ResponseWriter of who makes it.
type scraped struct {
	header http.Header
	status int
	gzip   *gzip.Writer
	body   bytes.Buffer
	most   int
	wrong  error
}

var errTooLarge = errors.New("the metrics are larger than may be told at once: tell no partitions apart (--metrics-per-topic)")

// Header implements http.ResponseWriter.
func (s *scraped) Header() http.Header { return s.header }

// WriteHeader implements http.ResponseWriter.
func (s *scraped) WriteHeader(status int) { s.status = status }

// Write implements http.ResponseWriter.
func (s *scraped) Write(b []byte) (int, error) {
	if s.wrong == nil && s.body.Len() > s.most {
		s.wrong = errTooLarge
	}
	if s.wrong != nil {
		return 0, s.wrong
	}
	return s.gzip.Write(b)
}

// send gives it to who asked: compressed, or what comes out of that piece by piece.
func (s *scraped) send(w http.ResponseWriter, zipped bool) {
	for key, values := range s.header {
		w.Header()[key] = values
	}
	w.Header().Add("Vary", "Accept-Encoding")
	if zipped {
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Content-Length", strconv.Itoa(s.body.Len()))
		w.WriteHeader(s.status)
		_, _ = w.Write(s.body.Bytes()) // who is gone is not told
		return
	}
	w.Header().Del("Content-Length")
	w.WriteHeader(s.status)
	if plain, err := gzip.NewReader(&s.body); err == nil {
		_, _ = io.Copy(w, plain) // it is our own
	}
}

// takesGzip tells whether who asks reads it compressed.
func takesGzip(r *http.Request) bool {
	for _, header := range r.Header.Values("Accept-Encoding") {
		for one := range strings.SplitSeq(header, ",") {
			name, parameters, _ := strings.Cut(strings.TrimSpace(one), ";")
			if name = strings.TrimSpace(name); !strings.EqualFold(name, "gzip") && name != "*" {
				continue
			}
			_, q, given := strings.Cut(strings.ReplaceAll(parameters, " ", ""), "q=")
			weight, err := strconv.ParseFloat(q, 64)
			return !given || err == nil && weight > 0
		}
	}
	return false
}
