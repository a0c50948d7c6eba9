package producer_test

import (
	"context"
	"fmt"
	"os"

	"github.com/ackmark/ackmark/producer"
)

// Whether records go through the sidecar of the pod or through a client of the process's own is one
// line.
func Example() {
	var p producer.Producer
	if target := os.Getenv("SIDECAR"); target != "direct" {
		p = producer.Dial(target)
	} else {
		p = producer.Direct(producer.DirectConfig{Brokers: []string{"localhost:9092"}})
	}
	defer p.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // the example has no broker
	_, err := p.Emit(ctx, producer.Record{Topic: "greetings", Key: []byte("k"), Value: []byte("hello")})
	fmt.Println(err != nil)
	// Output: true
}
