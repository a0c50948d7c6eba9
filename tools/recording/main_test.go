//go:build linux

package main

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

func TestScreen(t *testing.T) {
	for name, c := range map[string]struct{ written, want string }{
		"redrawn":    {"intro\r\n\x1b[1mone\x1b[0m\x1b[K\r\ntwo\x1b[K\r\n\x1b[2Athree\x1b[K\r\nx\x1b[K\r\n", "intro\nthree\nx"},
		"erased":     {"a\r\nb\r\nc\r\n\x1b[3A\x1b[Jend\r\n", "end"},
		"scrolled":   {"1\r\n2\r\n3\r\n4\r\n5\r\n", "3\n4\n5"},
		"wrapped":    {"0123456789ab\r\n", "0123456789\nab"},
		"not ASCII":  {"░█ ●\r\n", "░█ ●"},
		"overwrites": {"long\rlo\x1b[K\r\n", "lo"},
	} {
		whole, pieces := newScreen(4, 10), newScreen(4, 10)
		whole.write(c.written)
		for i := range len(c.written) { // a read may end anywhere, in a rune too
			pieces.write(c.written[i : i+1])
		}
		if got := whole.text(); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		if got := pieces.text(); got != c.want {
			t.Errorf("%s, in pieces: %q, want %q", name, got, c.want)
		}
	}
}

func TestRecord(t *testing.T) {
	s := newScreen(4, 20)
	frames, err := record(s, 0, []string{"sh", "-c", `printf '\033[32m<one>\033[0m\n'; echo two`})
	if err != nil {
		t.Fatal(err)
	}
	if got := s.text(); got != "<one>\ntwo" {
		t.Errorf("the screen is %q", got)
	}
	picture := svg(frames, 4, 20, time.Second)
	for d := xml.NewDecoder(strings.NewReader(picture)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("no XML: %v\n%s", err, picture)
		}
	}
	for _, part := range []string{`class="c32"`, "&lt;one&gt;", ">two<"} {
		if !strings.Contains(picture, part) {
			t.Errorf("no %q in\n%s", part, picture)
		}
	}
	if _, err := record(s, 0, []string{"sh", "-c", "echo broken; exit 3"}); err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("a command that fails: %v", err)
	}
}
