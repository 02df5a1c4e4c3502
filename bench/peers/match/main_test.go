package match

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/statesync/statesync/bench/peers/process"
)

func TestMain(m *testing.M) {
	process.Main()
	goleak.VerifyTestMain(m)
}
