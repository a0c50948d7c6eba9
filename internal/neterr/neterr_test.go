package neterr

import (
	"io"
	"net"
	"testing"
	"time"
)

// The system's own error, not a constant: that is what differs.
func TestNobodyListens(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := lis.Addr().String()
	if err := lis.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = net.DialTimeout("tcp", addr, 10*time.Second)
	if !Refused(err) {
		t.Errorf("%v is not taken for a refusal", err)
	}
	if Reset(err) || Unreachable(err) {
		t.Errorf("%v is taken for something else, too", err)
	}
	if Refused(io.EOF) || Refused(nil) {
		t.Error("anything is a refusal")
	}
}
