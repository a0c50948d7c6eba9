package letters

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Format is how values are shown.
type Format string

// Formats.
const (
	Auto Format = "auto" // JSON where it is JSON, text where it is text, else hex
	Text Format = "text"
	JSON Format = "json"
	Hex  Format = "hex"
)

// Printable is a text that a terminal only prints: what is not a printable character, or no UTF-8,
// is escaped, \x1b, \n, \u202e. Letters come from a topic: they may hold anything.
func Printable(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case r == '\\':
			b.WriteString(`\\`)
		case strconv.IsPrint(r):
			b.WriteRune(r)
		default:
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		s = s[n:]
	}
	return b.String()
}

// PrintableJSON escapes in the text of JSON what a terminal would obey and JSON allows: \u009b,
// \u202e.
func PrintableJSON(text []byte) []byte {
	var b bytes.Buffer
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		if r == '\n' || strconv.IsPrint(r) {
			b.Write(text[:n])
		} else if high, low, pair := surrogates(r); pair {
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		} else {
			fmt.Fprintf(&b, `\u%04x`, r)
		}
		text = text[n:]
	}
	return b.Bytes()
}

func surrogates(r rune) (high, low rune, pair bool) {
	if r < 0x10000 {
		return 0, 0, false
	}
	r -= 0x10000
	return 0xd800 + r>>10, 0xdc00 + r&0x3ff, true
}

// Value shows at most so many bytes of a value, in lines that a terminal only prints; rest is how
// many bytes are left out. A nil value is no value.
func Value(value []byte, format Format, most int) (lines []string, rest int) {
	if value == nil {
		return []string{"null"}, 0
	}
	if format == Auto || format == JSON {
		if text, ok := indented(value, most); ok {
			return text, 0
		}
	}
	shown := value[:min(len(value), most)]
	rest = len(value) - len(shown)
	if format == Hex || format != Text && !looksLikeText(shown, rest > 0) {
		return hexLines(shown), rest
	}
	for line := range strings.Lines(string(shown)) {
		lines = append(lines, Printable(strings.TrimSuffix(line, "\n")))
	}
	if lines == nil {
		lines = []string{""}
	}
	return lines, rest
}

// indented is JSON over several lines, where it is all shown.
func indented(value []byte, most int) ([]string, bool) {
	if len(value) > most || !json.Valid(value) || !utf8.Valid(value) {
		return nil, false
	}
	var b bytes.Buffer
	if err := json.Indent(&b, value, "", "  "); err != nil || b.Len() > 4*most {
		return nil, false
	}
	return strings.Split(string(PrintableJSON(bytes.ReplaceAll(b.Bytes(), []byte("\r"), nil))), "\n"), true
}

// looksLikeText: it is UTF-8 (but for a rune that was cut), and has no zero bytes.
func looksLikeText(b []byte, cut bool) bool {
	for i := 0; cut && i < utf8.UTFMax-1 && len(b) > 0 && !utf8.Valid(b); i++ {
		b = b[:len(b)-1]
	}
	return utf8.Valid(b) && bytes.IndexByte(b, 0) < 0
}

func hexLines(b []byte) []string {
	lines := strings.Split(strings.TrimSuffix(hex.Dump(b), "\n"), "\n")
	return lines
}
