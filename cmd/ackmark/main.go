// Command ackmark is the per-pod sidecar of Ackmark and its tools: `ackmark --help`.
package main

import (
	"os"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/cli"
)

func main() { os.Exit(run()) }

func run() int { return cli.Main(commands()) }
