package secret_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/secret"
)

// However a secret is printed, it is not.
func TestNoFormPrintsASecret(t *testing.T) {
	v := struct{ Password secret.Value }{secret.Parse("s3cret")}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "password", v.Password)
	for _, text := range []string{fmt.Sprint(v.Password), fmt.Sprintf("%v %+v %#v %s %q", v.Password, v.Password, v.Password, v.Password, v.Password), log.String()} {
		if strings.Contains(text, "s3cret") || !strings.Contains(text, secret.Redacted) {
			t.Error(text)
		}
	}
	if got := secret.Parse("file:/run/x").String(); got != "file:/run/x" {
		t.Errorf("a reference is shown as %q", got)
	}
}

// A secret in a file is all of it but the end of its line, and is read again.
func TestReferences(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	v := secret.Parse("file:" + path)
	for i, tc := range []struct{ text, want, err string }{
		{"s3cret", "s3cret", ""},
		{"s3cret\n", "s3cret", ""},
		{"s3cret\r\n", "s3cret", ""},
		{" s3 cret \n\n", " s3 cret \n", ""},
		{"\n", "", "is empty"},
		{strings.Repeat("x", secret.MaxBytes+1), "", "holds more than 65536 bytes"},
	} {
		if err := os.WriteFile(path, []byte(tc.text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := v.Read()
		if got != tc.want || (err != nil) != (tc.err != "") || err != nil && !strings.Contains(err.Error(), tc.err) {
			t.Errorf("case %d: %q, %v", i, got, err)
		}
	}
	for at, want := range map[string]string{filepath.Dir(path): "is a directory", path + "x": "there is no file"} {
		if _, err := secret.Parse("file:" + at).Read(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", at, err)
		}
	}
	t.Setenv("SECRET_TEST", "s3cret")
	if got, err := secret.Parse("env:SECRET_TEST").Read(); got != "s3cret" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := secret.Parse("env:SECRET_TEST_2").Read(); err == nil || !strings.Contains(err.Error(), `"SECRET_TEST_2", which is not set`) {
		t.Error(err)
	}
}
