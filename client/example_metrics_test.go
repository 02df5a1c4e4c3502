//go:build unix

package client_test

import (
	"expvar"
	"fmt"

	"github.com/statesync/statesync/client"
)

// Metrics of the standard library: what expvar publishes is shown at
// /debug/vars. examples/metrics does the same for Prometheus.
func ExampleClient_Stats_expvar() {
	region := startDaemon()
	defer region.stop()
	c := region.client()

	// In a program: expvar.Publish("statesync", expvar.Func(stats(c))).
	stats := func(c *client.Client) func() any {
		return func() any {
			s := c.Stats()
			failure := ""
			if s.Err != nil {
				failure = s.Err.Error()
			}
			return map[string]any{
				"generation": s.Generation, "daemon_alive": s.DaemonAlive, "problem": s.Problem, "error": failure,
				"refreshes": s.Refreshes, "retries": s.Retries, "faults": s.Faults, "refusals": s.Rejections,
			}
		}
	}
	variable := expvar.Func(stats(c))
	region.change("flags", `{"newQueue": true}`)
	found := variable.Value().(map[string]any)
	fmt.Println(found["generation"], found["daemon_alive"], found["refusals"])
	// Output: 2 true 0
}
