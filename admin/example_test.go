package admin_test

import (
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/ackmark/ackmark/admin"
	"github.com/ackmark/ackmark/sidecar"
)

// Serve the page, the probes and the state of a sidecar that runs inside your program from the
// mux that it has already.
func ExampleHandler() {
	s, err := sidecar.New(sidecar.Config{Brokers: []string{"localhost:9092"}})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	h := admin.Handler(admin.Config{Source: s})

	for _, url := range []string{"http://localhost/healthz", "http://localhost/readyz", "http://rebound.example/readyz"} {
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, url, nil))
		fmt.Println(answer.Code)
	}
	// Output:
	// 200
	// 503
	// 421
}
