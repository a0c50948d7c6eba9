package producertest_test

import (
	"context"
	"fmt"
	"slices"

	"github.com/ackmark/ackmark/internal/exampletest"
	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/producer/producertest"
)

// A Recorder is the Reporter of a test that calls Deliver itself. It also finds reports that must
// not be, as a second one for the same unit.
func ExampleRecorder() {
	kafka := exampletest.Start("events")
	defer kafka.Close()
	p := producer.Direct(producer.DirectConfig{Brokers: kafka.Brokers})
	defer p.Close()

	ctx := context.Background()
	outputs := []producer.Record{{Topic: "events", Value: []byte("hello")}}
	units := []producer.Unit{
		{Outputs: outputs},
		{Outputs: slices.Repeat(outputs, producer.MaxUnitOutputs+1)},
	}
	recorder := producertest.NewRecorder(len(units))
	if err := p.Deliver(ctx, units, recorder); err != nil {
		fmt.Println("none was taken:", err)
		return
	}
	fmt.Println("wrong reports:", recorder.Wait(ctx))
	for i, fate := range recorder.Fates() {
		if fate.Err != nil {
			fmt.Println("unit", i, "failed:", fate.Err.Code)
		} else {
			fmt.Println("unit", i, "acknowledged")
		}
	}
	// Output:
	// wrong reports: <nil>
	// unit 0 acknowledged
	// unit 1 failed: UNIT_TOO_LARGE
}
