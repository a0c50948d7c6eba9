package bench

import (
	"errors"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
)

// Of brokers that are not ours the processor time is known by their process ids, or not at all.
func TestBrokersCPU(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc")
	}
	b := &bench{}
	if cpu, err := b.brokersCPU(t.Context()); cpu != nil || err != nil {
		t.Errorf("of nobody: %v, %v", cpu, err)
	}
	b.opts.BrokerPIDs = []int{os.Getpid()}
	before, err := b.brokersCPU(t.Context())
	if err != nil || before == nil {
		t.Fatal(before, err)
	}
	b.opts.BrokerPIDs = append(b.opts.BrokerPIDs, -1)
	if _, err := b.brokersCPU(t.Context()); err == nil {
		t.Error("a broker that does not run used no time")
	}
}

func TestBrokerPIDsAreRefused(t *testing.T) {
	for want, o := range map[string]Options{
		"is of the brokers that --brokers names": {BrokerPIDs: []int{1}},
		"has -1, whose CPU time cannot be read":  {BrokerPIDs: []int{-1}, Brokers: []string{"127.0.0.1:1"}},
	} {
		o.Stdout, o.Stderr = io.Discard, io.Discard
		err := Run(t.Context(), o)
		if refused, ok := errors.AsType[*OptionError](err); !ok || refused.Option != "--broker-pids" || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
