//go:build !unix || portable

package listen

import (
	"net"

	"google.golang.org/grpc/mem"
)

// readiness is not told here: a reader waits with its buffer in its hands.
type readiness struct{}

func readinessOf(net.Conn) *readiness { return nil }

func (*readiness) read(int, mem.BufferPool) (*[]byte, int, error) { panic("listen: no readiness") }
