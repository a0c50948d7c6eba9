// Package secret has values that are never printed, or say where to read them: file:/path or
// env:NAME.
package secret

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"syscall"

	"github.com/ackmark/ackmark/internal/kept"
	"github.com/ackmark/ackmark/internal/smallfile"
)

// Redacted stands for a secret wherever something is printed.
const Redacted = "(redacted)"

// Value is a secret as it was configured: itself, or a reference. It prints as what may be shown.
type Value struct{ text string }

// Parse reads what was configured.
func Parse(text string) Value { return Value{text} }

// Set tells whether there is one.
func (v Value) Set() bool { return v.text != "" }

const (
	fileScheme = "file:"
	envScheme  = "env:"
)

// reference splits file:/path and env:NAME.
func (v Value) reference() (scheme, name string) {
	for _, s := range []string{fileScheme, envScheme} {
		if name, ok := strings.CutPrefix(v.text, s); ok {
			return s, name
		}
	}
	return "", ""
}

// Shown is what may be printed: a reference as it is, never a secret.
func (v Value) Shown() string {
	if scheme, _ := v.reference(); scheme != "" {
		return v.text
	}
	return Redacted
}

// String keeps it out of every log and error, as GoString and LogValue do.
func (v Value) String() string { return v.Shown() }

// GoString implements fmt.GoStringer.
func (v Value) GoString() string { return v.Shown() }

// LogValue implements slog.LogValuer.
func (v Value) LogValue() slog.Value { return slog.StringValue(v.Shown()) }

// MaxBytes bounds what a file may hold.
const MaxBytes = 64 << 10

// Read is the secret. Of a file it is all but the end of the last line.
func (v Value) Read() (string, error) {
	switch scheme, name := v.reference(); scheme {
	case fileScheme:
		return readFile(strings.TrimPrefix(name, "//"))
	case envScheme:
		value, ok := os.LookupEnv(name)
		if !ok || value == "" {
			return "", fmt.Errorf("refers to the environment variable %q, which is not set; set it, or write file:/path", name)
		}
		return value, nil
	}
	return v.text, nil
}

func readFile(path string) (string, error) {
	data, err := Contents(path)
	if err != nil {
		return "", fmt.Errorf("refers to a file, but %w", err)
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	if text == "" {
		return "", fmt.Errorf("refers to the file %s, which is empty", path)
	}
	return text, nil
}

// Contents reads a small file.
func Contents(path string) ([]byte, error) {
	data, err := smallfile.Read(path, MaxBytes)
	if err != nil {
		return nil, worded(path, err)
	}
	return data, nil
}

func worded(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no file %s", path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s may not be read by this user", path)
	case errors.Is(err, syscall.EISDIR):
		return fmt.Errorf("%s is a directory", path)
	}
	return err
}

// Renewed is a secret that is read again for each use; nil without one.
type Renewed struct{ *kept.Kept[string] }

// Renew reads the secret now and again for each use; what names it in the log.
func Renew(what string, v Value, log *slog.Logger) (*Renewed, error) {
	k, err := kept.New(what, v.Read, log)
	if err != nil {
		return nil, err
	}
	return &Renewed{k}, nil
}
