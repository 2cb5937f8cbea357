package healthcheck

import (
	"io"
	"log"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// quiet is for servers that complain of what a test does to them.
func quiet() *log.Logger { return log.New(io.Discard, "", 0) }
