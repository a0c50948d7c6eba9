package kafkatest

import (
	"fmt"
	"testing"
)

// Pids are the process ids of the brokers.
func Pids(c *Cluster) (pids []string) {
	for _, b := range c.brokers {
		pids = append(pids, fmt.Sprint(b.proc.Pid()))
	}
	return pids
}

// DataDir is where the brokers have their data.
func DataDir(c *Cluster) string { return c.dir }

// LogDir is where their logs are.
func LogDir(c *Cluster) string { return c.logs }

// Require skips or fails the test if brokers cannot be started here.
func Require(tb testing.TB) {
	if _, err := install(tb.Context(), Version); err != nil {
		unavailable(tb, err)
	}
}

// ClusterOf is what a program's brokers are underneath.
func ClusterOf(r *Running) *Cluster { return r.cluster }
