package letters

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"order 7 ä 日本": "order 7 ä 日本", "\x1b[2J": `\x1b[2J`, "a\nb\tc\r": `a\nb\tc\r`, "\u009b31m": `\u009b31m`, "\x7f": `\x7f`, "\xff\xfe": `\xff\xfe`,
		"\u202egnp.exe": `\u202egnp.exe`, `C:\x1b`: `C:\\x1b`, "\u2028": `\u2028`,
	} {
		if got := Printable(in); got != want {
			t.Errorf("%q is shown as %s, want %s", in, got, want)
		}
	}
}

// Whatever a value is, and however it is shown, a terminal only prints.
func TestNothingReachesTheTerminal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.OneOf(rapid.SliceOf(rapid.Byte()), rapid.Custom(func(t *rapid.T) []byte { return []byte(rapid.String().Draw(t, "text")) }),
			rapid.Custom(func(t *rapid.T) []byte {
				return []byte(`{"a":"` + rapid.StringMatching("[\u007f-\u009f\u202a-\u202e ä\U000e0001\U0001f600]*").Draw(t, "text") + `"}`)
			})).Draw(t, "value")
		form := rapid.SampledFrom([]Format{Auto, Text, JSON, Hex}).Draw(t, "form")
		lines, rest := Value(value, form, 40)
		if rest < 0 || rest > 0 && len(value) <= 40 {
			t.Fatalf("%d bytes left of %d", rest, len(value))
		}
		for _, line := range append(lines, Printable(string(value))) {
			for _, r := range line {
				if !strconv.IsPrint(r) || r == utf8.RuneError && !strings.ContainsRune(string(value), utf8.RuneError) {
					t.Fatalf("%q has %U, of %q", line, r, value)
				}
			}
		}
		text, err := json.Marshal(string(value))
		if err != nil {
			t.Fatal(err)
		}
		shown := PrintableJSON(text)
		var same string
		if err := json.Unmarshal(shown, &same); err != nil || same != strings.ToValidUTF8(string(value), "\ufffd") && utf8.Valid(value) {
			t.Fatalf("%q reads back as %q (%v)", shown, same, err)
		}
		for _, r := range string(shown) {
			if !strconv.IsPrint(r) {
				t.Fatalf("%q has %U", shown, r)
			}
		}
	})
}

func TestValue(t *testing.T) {
	for name, c := range map[string]struct {
		value []byte
		form  Format
		most  int
		want  string
		rest  int
	}{
		"tombstone":          {nil, Auto, 9, "null", 0},
		"empty":              {[]byte{}, Auto, 9, "", 0},
		"JSON":               {[]byte(`{"a":1}`), Auto, 99, "{|  \"a\": 1|}", 0},
		"JSON as text":       {[]byte(`{"a":1}`), Text, 99, `{"a":1}`, 0},
		"JSON that is large": {[]byte(`{"a":1}`), Auto, 3, `{"a`, 4},
		"text":               {[]byte("a\nb"), Auto, 99, "a|b", 0},
		"cut in a rune":      {[]byte("aää"), Auto, 2, `a\xc3`, 3},
		"bytes":              {[]byte{0, 1, 'a'}, Auto, 99, "00000000  00 01 61                                          |..a|", 0},
		"text in hex":        {[]byte("a"), Hex, 99, "00000000  61                                                |a|", 0},
	} {
		lines, rest := Value(c.value, c.form, c.most)
		if got := strings.Join(lines, "|"); got != c.want || rest != c.rest {
			t.Errorf("%s: %q and %d bytes, want %q and %d", name, got, rest, c.want, c.rest)
		}
	}
}
