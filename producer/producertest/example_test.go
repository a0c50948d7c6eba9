package producertest_test

import (
	"context"
	"errors"
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

// A test decides the fate of every unit: here the second one fails, and the third is held until the
// test lets it go.
func ExampleNewFake() {
	f := producertest.NewFake(producertest.FakeConfig{Rule: func(d producertest.Delivered) producertest.Decision {
		switch d.ID {
		case 1:
			return producertest.Fail(&producer.Error{Code: "MESSAGE_TOO_LARGE", Topic: "out", Partition: -1})
		case 2:
			return producertest.Hold()
		}
		return producertest.Ack()
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
