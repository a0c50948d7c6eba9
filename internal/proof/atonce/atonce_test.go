package atonce_test

import (
	"flag"
	"os"
	"sync"
	"testing"

	"github.com/ackmark/ackmark/internal/proof/atonce"
)

const several = 7

func TestMain(m *testing.M) {
	atonce.Tests(several)
	atonce.Tests(1) // what is set stays
	os.Exit(m.Run())
}

// All of them meet, though there are fewer processors; or one waits for ever.
func TestSeveral(t *testing.T) {
	if asked := flag.Lookup("test.parallel").Value.String(); asked != "7" {
		t.Skipf("-parallel %s is asked for", asked)
	}
	var all sync.WaitGroup
	all.Add(several)
	for range several {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			all.Done()
			all.Wait()
		})
	}
}
