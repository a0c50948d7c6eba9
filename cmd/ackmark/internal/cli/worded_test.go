package cli

import (
	"errors"
	"strings"
	"testing"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/settings"
	"github.com/ackmark/ackmark/sidecar"
)

// Why the sidecar ended names the settings as they are written, not the fields of a Go type.
func TestWhyTheSidecarEndedNamesSettings(t *testing.T) {
	e, _ := settings.Load(settings.Sources{Flags: map[string]string{"transaction_timeout": "1h"}})
	err := worded(e, &sidecar.TransactionError{TransactionalID: "a", Err: errors.New("set TransactionTimeout (1h0m0s) to less")})
	if got := err.Error(); !strings.Contains(got, "set --transaction-timeout (1h0m0s)") {
		t.Error(got)
	}
	if _, ok := errors.AsType[*sidecar.TransactionError](err); !ok {
		t.Errorf("%v has lost its kind", err)
	}
}
