package consumertest_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/consumer/consumertest"
)

// The loop under test is given inputs without a broker; afterwards Committable, Outcomes and Open
// say what a group would have committed, what became of each input, and what the loop forgot.
func ExampleNew() {
	inputs := consumertest.New(
		&kgo.Record{Topic: "orders", Offset: 7, Value: []byte("coffee")},
		&kgo.Record{Topic: "orders", Offset: 8, Value: []byte("???")},
		&kgo.Record{Topic: "orders", Offset: 9, Value: []byte("tea")},
	)
	for m, err := range inputs.Messages(context.Background()) { // in your test: run(inputs.Messages(t.Context()))
		switch halt, halted := errors.AsType[*consumer.HaltError](err); {
		case halted:
			fmt.Println("halted at", halt.Offset)
		case string(m.Value) == "???":
			m.Done(errors.New("no such product"))
		default:
			m.Done(nil)
		}
	}
	fmt.Println("committable:", inputs.Committable("orders", 0))
	fmt.Println("outcomes:", len(inputs.Outcomes()), "open:", len(inputs.Open()))
	// Output:
	// halted at 8
	// committable: 8
	// outcomes: 2 open: 0
}
