package cli

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Both forms of the log count a storm, and neither hides an error behind another.
func TestTheLogCountsAStorm(t *testing.T) {
	for format, count := range map[string]string{"text": "suppressed=979", "json": `"suppressed":979`} {
		synctest.Test(t, func(t *testing.T) {
			var b bytes.Buffer
			log, counted := newLogger(&b, slog.LevelInfo, format)
			for range 1000 {
				log.Error("commit failed", "topic", "orders")
			}
			log.Error("partition halted", "topic", "orders")
			counted.Close()
			text := b.String()
			if strings.Count(text, "commit failed") != 21 || strings.Count(text, count) != 1 || strings.Count(text, "partition halted") != 1 {
				t.Errorf("%s: %s", format, text)
			}
		})
	}
}

// logsOne writes a line as format auto has it.
func logsOne(w io.Writer) {
	log, counted := newLogger(w, slog.LevelInfo, "auto")
	log.Info("serving", "topic", "orders", "took", 20*time.Second)
	counted.Close()
}

// Format auto is JSON where nobody reads along: in a file, a pipe, or what is no file at all.
func TestFormatAutoIsJSONWithoutATerminal(t *testing.T) {
	var buffer bytes.Buffer
	logsOne(&buffer)
	texts := map[string][]byte{"a buffer": buffer.Bytes()}

	file, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	logsOne(file)
	if texts["a file"], err = os.ReadFile(file.Name()); err != nil {
		t.Fatal(err)
	}

	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	logsOne(in) // a line fits into a pipe
	in.Close()
	if texts["a pipe"], err = io.ReadAll(out); err != nil {
		t.Fatal(err)
	}
	for name, text := range texts {
		var line map[string]any
		if err := json.Unmarshal(text, &line); err != nil || line["msg"] != "serving" || line["topic"] != "orders" || line["took"] != "20s" {
			t.Errorf("%s: %v, %q", name, err, text)
		}
	}
}
