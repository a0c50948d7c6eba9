package settings

import (
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"strconv"
	"strings"
)

func asText(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case map[string]any, []any, nil:
		return "", fmt.Errorf("is %s; write one text", shown(v))
	}
	return fmt.Sprint(v), nil
}

// asSecret reads a secret. What YAML reads as something else than a text is refused: 01234567 is an
// octal number there, and no longer what was written.
func asSecret(v any) (string, error) {
	if s, ok := v.(string); ok {
		return s, nil
	}
	return "", fmt.Errorf("is not a text for YAML but a %s; put it in quotes", yamlKind(v))
}

// shown is a value of a wrong kind as the user knows it: what he wrote, or what YAML made of it.
func shown(v any) string {
	switch v := v.(type) {
	case string:
		return strconv.Quote(v)
	case nil:
		return "empty"
	case map[string]any, []any:
		return "a " + yamlKind(v)
	case int, int64, uint64, float64, bool:
		return fmt.Sprint(v)
	}
	return "a date"
}

// hidden is shown where what was written may hold a secret.
func hidden(v any) string {
	if _, isText := v.(string); isText {
		return "a text"
	}
	return shown(v)
}

// yamlKind says what YAML made of a value, and not the value.
func yamlKind(v any) string {
	switch v.(type) {
	case int, int64, uint64, float64:
		return "number"
	case bool:
		return "truth value"
	case nil:
		return "null"
	case map[string]any:
		return "map"
	case []any:
		return "list"
	}
	return "date"
}

func asList(v any) ([]string, error) {
	switch v := v.(type) {
	case []any:
		var out []string
		for _, x := range v {
			s, ok := x.(string)
			if !ok || s == "" {
				return nil, fmt.Errorf("has the entry %s; each must be a text, as in [one, two]", shown(x))
			}
			out = append(out, s)
		}
		return out, nil
	case []string:
		return v, nil
	case string:
		return splitList(v), nil
	}
	return nil, fmt.Errorf("is %s; write a list, as in [one, two], or texts separated by commas", shown(v))
}

func asIDs(v any) ([]uint32, error) {
	var out []uint32
	var list []any
	switch v := v.(type) {
	case []any:
		list = v
	case string:
		for _, word := range splitList(v) {
			list = append(list, word)
		}
	case int:
		list = []any{v}
	default:
		return nil, fmt.Errorf("is %s; write ids as numbers: [1000, 1001]", shown(v))
	}
	for _, x := range list {
		n, err := strconv.ParseUint(fmt.Sprint(x), 10, 32)
		if err != nil {
			return nil, fmt.Errorf("has the entry %s; write ids as numbers: [1000, 1001]", shown(x))
		}
		out = append(out, uint32(n))
	}
	return out, nil
}

func asListen(v any) (string, error) {
	s, err := asText(v)
	if err != nil {
		return "", err
	}
	path, unix := strings.CutPrefix(s, "unix://")
	_, tcp := strings.CutPrefix(s, "tcp://")
	if (unix && strings.HasPrefix(path, "/") && len(path) > 1) || tcp {
		return s, nil
	}
	return "", fmt.Errorf("is %q; write unix:///absolute/path.sock or tcp://host:port", s)
}

func asMode(v any) (fs.FileMode, error) {
	var n uint64
	var err error
	text := shown(v)
	switch v := v.(type) {
	case int: // YAML reads 0770 as an octal number
		n, text = uint64(v), fmt.Sprintf("%d (octal %#o)", v, v)
	default:
		n, err = strconv.ParseUint(strings.TrimPrefix(fmt.Sprint(v), "0o"), 8, 32)
	}
	if err != nil || (n != 0o700 && n != 0o770) {
		return 0, fmt.Errorf("is %s; write 0700 (one user) or 0770 (a group): whoever may open the socket may produce", text)
	}
	return fs.FileMode(n), nil
}

func asLevel(l *slog.Level, v any) error {
	if err := l.UnmarshalText([]byte(fmt.Sprint(v))); err != nil {
		return fmt.Errorf("is %s; write debug, info, warn or error", shown(v))
	}
	return nil
}

func asChoice(v any, choices ...string) (string, error) {
	for _, c := range choices {
		if v == c {
			return c, nil
		}
	}
	return "", fmt.Errorf("is %s; write %s", shown(v), strings.Join(choices, ", "))
}

func asRatio(v any) (float64, error) {
	f, err := strconv.ParseFloat(fmt.Sprint(v), 64)
	if err != nil || !(f >= 0 && f <= 1) {
		return 0, fmt.Errorf("is %s; write a number from 0 to 1, as in 0.9", shown(v))
	}
	return f, nil
}

// ParseCount reads a count or a size, as the sidecar's settings have them: 1000, 64MiB.
func ParseCount(s string) (int64, error) { return asCount(s) }

// asCount reads 1000, 64MiB, 10k.
func asCount(v any) (int64, error) {
	s := strings.TrimSpace(fmt.Sprint(v))
	digits := strings.TrimRight(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
	units := map[string]int64{"": 1, "b": 1, "k": 1e3, "kb": 1e3, "kib": 1 << 10, "m": 1e6, "mb": 1e6, "mib": 1 << 20, "g": 1e9, "gb": 1e9, "gib": 1 << 30}
	unit, ok := units[strings.ToLower(strings.TrimSpace(s[len(digits):]))]
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || !ok || n < 0 || n > math.MaxInt32*int64(1<<20)/unit {
		return 0, fmt.Errorf("is %s; write a whole number above 0, with a unit if you like: 5000, 64MiB", shown(v))
	}
	return n * unit, nil
}
