//go:build unix

package client_test

import (
	"expvar"
	"fmt"
	"strings"

	"github.com/statesync/statesync/client"
)

// Metrics of the standard library: what expvar publishes is shown at
// /debug/vars. examples/metrics does the same for Prometheus.
func ExampleClient_Stats_expvar() {
	region := startDaemon()
	defer region.stop()
	c := region.client()

	// In a program: expvar.Publish("statesync", variable).
	variable := expvar.Func(func() any { return c.Stats() })

	client.Bind[Flags](c, "flags")
	region.change("flags", `{"newQueue": "yes"}`) // which is not a bool
	for _, field := range []string{`"Generation":2`, `"DaemonAlive":true`, `"Rejected":1`} {
		fmt.Println(strings.Contains(variable.String(), field))
	}
	// Output:
	// true
	// true
	// true
}
