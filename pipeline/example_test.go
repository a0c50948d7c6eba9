package pipeline_test

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/pipeline"
)

// One input, outputs of two types for two topics.
func ExampleFanOut() {
	type order struct {
		ID    string
		Cents int
	}
	type total struct{ Cents int }
	totals := pipeline.To(pipeline.JSON[total](), "totals")
	large := pipeline.To(pipeline.String(), "large-orders")
	handler := pipeline.FanOut(pipeline.JSON[order](), func(_ context.Context, in pipeline.Msg[order]) ([]pipeline.Output, error) {
		outs := []pipeline.Output{totals.Value(total{in.Value.Cents})}
		if in.Value.Cents > 1000 {
			outs = append(outs, large.Value(in.Value.ID))
		}
		return outs, nil
	})

	records, err := handler.Handle(context.Background(), &consumer.Message{Record: &kgo.Record{Value: []byte(`{"ID":"a7","Cents":4200}`)}})
	for _, r := range records {
		fmt.Println(r.Topic, string(r.Value))
	}
	fmt.Println(err)
	// Output:
	// totals {"Cents":4200}
	// large-orders a7
	// <nil>
}
