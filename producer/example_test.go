package producer_test

import (
	"context"
	"errors"
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

// A test decides the fate of every unit: here the second one fails, and the third is held until the
// test lets it go.
func ExampleNewFake() {
	f := producer.NewFake(producer.FakeConfig{Fate: func(d producer.Delivered) producer.Fate {
		switch d.ID {
		case 1:
			return producer.FateFail(&producer.Error{Code: "MESSAGE_TOO_LARGE", Topic: "out", Partition: -1})
		case 2:
			return producer.FateHold()
		}
		return producer.FateAck()
	}})
	defer f.Close()
	ctx := context.Background()
	for _, v := range []string{"a", "b"} {
		_, err := f.Emit(ctx, producer.Record{Topic: "out", Value: []byte(v)})
		var pe *producer.Error
		if errors.As(err, &pe) {
			fmt.Println(v, "failed:", pe.Code)
		} else {
			fmt.Println(v, "acked")
		}
	}
	done := make(chan error)
	f.EmitAsync(producer.Record{Topic: "out", Value: []byte("c")}, func(_ producer.Ack, err error) { done <- err })
	fmt.Println("held:", f.Held())
	f.Ack(2)
	fmt.Println("c:", <-done)
	fmt.Println("written:", len(f.Records("out")))
	// Output:
	// a acked
	// b failed: MESSAGE_TOO_LARGE
	// held: [2]
	// c: <nil>
	// written: 2
}
