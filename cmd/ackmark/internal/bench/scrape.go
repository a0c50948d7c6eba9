package bench

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/metric"
	sdk "go.opentelemetry.io/otel/sdk/metric"

	"github.com/ackmark/ackmark/internal/telemetry/exporter"
)

// measures makes the child's metrics, as its spec says: nil for none.
func (c *child) measures(ctx context.Context) (metrics metric.MeterProvider, end func(), err error) {
	switch c.spec.Metrics {
	case idle:
		return sdk.NewMeterProvider(), func() {}, nil
	case scraped:
	default:
		return nil, func() {}, nil
	}
	e, err := exporter.New(ctx, exporter.Config{Service: "ackmark-bench", Getenv: func(string) string { return "" }})
	if err != nil {
		return nil, nil, err
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, errors.Join(err, e.Shutdown(ctx))
	}
	served := &http.Server{Handler: e.Handler(), ReadHeaderTimeout: scrapeTimeout}
	var serving sync.WaitGroup
	serving.Go(func() { _ = served.Serve(lis) })
	c.tell(event{Kind: eventMetrics, Metrics: "http://" + lis.Addr().String()})
	return e.MeterProvider(), func() {
		_ = served.Close()
		serving.Wait()
		_ = e.Shutdown(context.WithoutCancel(ctx)) // nothing is pushed
	}, nil
}

const (
	scrapeEvery   = time.Second
	scrapeTimeout = 10 * time.Second
)

// scrape asks a child for its metrics each second, as Prometheus does, until the child has ended.
type scrape struct {
	client http.Client
	url    string
	asking sync.WaitGroup
	n      atomic.Int64
}

// begin asks for the first time: nothing is measured of who does not answer. Of slices somebody
// else asks further.
func begin(url string, ended <-chan struct{}, further bool) (*scrape, error) {
	s := &scrape{client: http.Client{Timeout: scrapeTimeout}, url: url}
	if err := s.ask(); err != nil {
		return nil, err
	}
	if !further {
		return s, nil
	}
	s.asking.Go(func() {
		tick := time.NewTicker(scrapeEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				_ = s.ask() // it may be ending
			case <-ended:
				return
			}
		}
	})
	return s, nil
}

// ask reads all that is told.
func (s *scrape) ask() error {
	answer, err := s.client.Get(s.url)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return errors.New(answer.Status)
	}
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return err
	}
	s.n.Add(1)
	return nil
}

// scrapes is how often the process was asked so far.
func (p *process) scrapes() int {
	if p.scrape == nil {
		return 0
	}
	return int(p.scrape.n.Load())
}
