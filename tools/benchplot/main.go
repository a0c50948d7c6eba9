// Command benchplot draws what `ackmark bench --json` has printed: how speed, processor time and
// memory go with sessions and partitions (--only scale), or what exactly-once costs by the commit
// interval (--only exactly-once,latency).
//
//	go -C tools run ./benchplot -o ../docs/img/scale.svg bench.json
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"
)

func main() {
	out := flag.String("o", "", "SVG file to write")
	note := flag.String("note", "", "what else the machine did, for the last line")
	flag.Parse()
	if *out == "" || flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: benchplot -o FILE.svg bench.json")
		os.Exit(2)
	}
	if err := run(*out, flag.Arg(0), *note); err != nil {
		fmt.Fprintln(os.Stderr, "benchplot:", err)
		os.Exit(1)
	}
}

func run(out, in, note string) error {
	text, err := os.ReadFile(in)
	if err != nil {
		return err
	}
	var r result
	if err := json.Unmarshal(text, &r); err != nil {
		return fmt.Errorf("%s: %w", in, err)
	}
	drawn, err := r.draw(note)
	if err != nil {
		return fmt.Errorf("%s: %w", in, err)
	}
	return os.WriteFile(out, []byte(drawn), 0o644)
}

// result is what is read of the bench's.
type result struct {
	Broker      string `json:"broker"`
	Records     int    `json:"records"`
	Size        int    `json:"size"`
	CPUs        int    `json:"cpus"`
	Contestants []struct {
		Name string `json:"name"`
		Runs []struct {
			Wall      time.Duration `json:"wall_ns"`
			BrokerCPU time.Duration `json:"broker_cpu_ns"`
		} `json:"runs"`
	} `json:"contestants"`
	Scale   *scale `json:"scale"`
	Latency struct {
		Paths []struct {
			Name string `json:"name"`
			P50  float64
		} `json:"paths"`
	} `json:"latency"`
}

// draw draws what is in a result.
func (r *result) draw(note string) (string, error) {
	if s := r.Scale; s != nil && len(s.Sessions)+len(s.Partitions) > 0 {
		return drawScale(r, note), nil
	}
	all, err := points(r)
	if err != nil {
		return "", err
	}
	return draw(r, all, note), nil
}
