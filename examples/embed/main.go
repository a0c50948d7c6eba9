// Command embed runs a pipeline inside a service that has other things to do: an HTTP server with a
// readiness probe. Everything starts and stops together through an errgroup.
//
//	KAFKA_BROKERS=localhost:9092 go run ./examples/embed    # reads "orders", writes "orders.checked", dead letters to "orders.dead"
//	curl -i localhost:8080/readyz                           # 200, or 503 with all that is wrong
//	curl localhost:8080/lag
//	open http://localhost:8080/            # the live page; its state as JSON: /api/status
//	curl localhost:8080/metrics            # for Prometheus: lags, marks, retries, latencies
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ackmark/ackmark/admin"
	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/producer"
)

type order struct {
	ID    string `json:"id"`
	Cents int    `json:"cents"`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	brokers := strings.Split(cmp.Or(os.Getenv("KAFKA_BROKERS"), "localhost:9092"), ",")
	lis, err := net.Listen("tcp", cmp.Or(os.Getenv("HTTP_ADDR"), "localhost:8080"))
	if err != nil {
		log.Fatal(err)
	}
	meters, metrics, err := newMetrics()
	if err != nil {
		log.Fatal(err)
	}
	err = serve(ctx, lis, metrics, pipeline.Config{
		Consumer:      consumer.Config{Brokers: brokers, Group: "checker", Topics: []string{"orders"}},
		Producer:      producer.Direct(producer.DirectConfig{Brokers: brokers, MeterProvider: meters}),
		MeterProvider: meters,
	})
	if err != nil {
		log.Fatal(err)
	}
}

// serve runs the pipeline and the HTTP server until ctx ends or one of them fails.
func serve(ctx context.Context, lis net.Listener, metrics http.Handler, cfg pipeline.Config) error {
	cfg.Handler = pipeline.Transform(pipeline.JSON[order](), pipeline.JSON[order](), "orders.checked", check)
	cfg.DeadLetter.Topic = "orders.dead"
	p, err := pipeline.New(cfg)
	if err != nil {
		return errors.Join(err, lis.Close())
	}
	server := &http.Server{Handler: routes(p, metrics), ReadHeaderTimeout: 5 * time.Second}

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.Run(ctx) }) // returns when it has drained, committed and left the group
	g.Go(func() error {
		if err := server.Serve(lis); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		stopping, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		return server.Shutdown(stopping)
	})
	return g.Wait()
}

// check passes orders on. An order that can never be right is rejected: it goes to the dead-letter
// topic without retries.
func check(_ context.Context, in pipeline.Msg[order]) ([]pipeline.Out[order], error) {
	if in.Value.ID == "" || in.Value.Cents < 0 {
		return nil, pipeline.Reject(fmt.Errorf("order %q of %d cents", in.Value.ID, in.Value.Cents))
	}
	return []pipeline.Out[order]{{Value: in.Value}}, nil
}

func routes(p *pipeline.Pipeline, metrics http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := p.Check(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	mux.HandleFunc("GET /lag", func(w http.ResponseWriter, _ *http.Request) {
		s := p.State()
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]int64{"lag": s.Consumer.Lag(), "done": s.Done, "dead_letters": s.DeadLetters})
	})
	mux.Handle("/", admin.Handler(admin.Config{Source: p, Metrics: metrics}))
	return mux
}
