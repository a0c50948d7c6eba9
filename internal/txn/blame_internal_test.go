package txn

import (
	"errors"
	"fmt"
	"net"
	"testing"
)

// A record that is not written since no broker was reached is tried again with all others of its
// window: alone, it would come behind later ones of its key.
func TestNobodyIsToBlameForTheNetwork(t *testing.T) {
	err := fmt.Errorf("unable to dial: %w", &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("no route to host")})
	if got := blameRecord(err); got != ofWindow {
		t.Errorf("%v is blamed on %v", err, got)
	}
	if got := blameRecord(errors.New("no such partition")); got != ofUnit {
		t.Errorf("what the client refuses itself is blamed on %v", got)
	}
}
