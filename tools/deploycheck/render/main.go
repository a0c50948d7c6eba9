// Command render writes the files of deploy/kubernetes that follow from the chart, and the chart's
// copy of the rules in deploy/prometheus.
package main

import (
	"log"
	"os"
	"path/filepath"

	"github.com/ackmark/ackmark/tools/deploycheck"
)

func main() {
	_, rules, path, err := deploycheck.Rules()
	if err != nil {
		log.Fatal(err)
	}
	write(path, rules)
	files, err := deploycheck.Base()
	if err != nil {
		log.Fatal(err)
	}
	for name, text := range files {
		write(deploycheck.Deploy("kubernetes", name), []byte(text))
	}
}

func write(path string, data []byte) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		log.Fatal(err)
	}
}
