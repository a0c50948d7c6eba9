package sidecar_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/ackmark/ackmark/internal/exampletest"
	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/sidecar"
)

// A sidecar inside a program of yours, as a supervisor of worker processes would have it. `ackmark
// sidecar` does the same from flags and a file.
func ExampleNew() {
	kafka := exampletest.Start("events")
	defer kafka.Close()
	dir, err := os.MkdirTemp("", "ackmark")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket := "unix://" + filepath.ToSlash(filepath.Join(dir, "sidecar.sock"))

	s, err := sidecar.New(sidecar.Config{Brokers: kafka.Brokers, Listen: socket})
	if err != nil {
		log.Fatal(err) // names each field that is wrong, and what to do
	}
	ctx, stop := context.WithCancel(context.Background()) // in a service: signal.NotifyContext
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()

	p := producer.Dial(socket) // in the worker processes
	_, err = p.Emit(context.Background(), producer.Record{Topic: "events", Value: []byte("hello")})
	fmt.Println(kafka.Read("events", 1), err)
	p.Close()

	stop() // Run delivers what it has taken, and returns
	fmt.Println("drained:", <-ended)
	// Output:
	// [hello] <nil>
	// drained: <nil>
}

// An allow-list says which app may write to which topics, and speak for which consumer groups. An
// empty list would allow nothing, so it is taken for a mistake.
func ExampleApp() {
	_, err := sidecar.New(sidecar.Config{
		Brokers: []string{"localhost:9092"},
		Apps: []sidecar.App{
			{Name: "billing", Token: "from a secret", Topics: []string{"invoices", "billing.*"}, Groups: []string{"billing"}},
			{Name: "audit", Topics: []string{}},
		},
	})
	fmt.Println(err)
	// Output: sidecar: Config.Apps[1].Topics is []: name at least one topic, or leave it out: all
}
