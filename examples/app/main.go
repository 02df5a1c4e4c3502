// App shows what a read costs and how soon a change arrives: it reads one config
// in a loop, in both ways, and prints each change. examples/service is a program to
// copy.
//
//	statesyncd --source dir:examples/config &
//	go run ./examples/app
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/statesync/statesync/client"
)

// Matchmaker is the config that the app uses, as Go has it.
type Matchmaker struct {
	Weights struct {
		Elo   int     `json:"elo"`
		Ping  float64 `json:"ping"`
		Party float64 `json:"party"`
	} `json:"weights"`
	MaxWait time.Duration `json:"max_wait"`
	Pools   []struct {
		Name string `json:"name"`
		Size int    `json:"size"`
	} `json:"pools"`
}

// options reject a misspelt key, and a wait that makes no sense.
var options = client.Options[Matchmaker]{
	Default: Matchmaker{MaxWait: 30 * time.Second},
	Validate: func(m *Matchmaker) error {
		if m.MaxWait <= 0 {
			return fmt.Errorf("max_wait is %s, and must be positive", m.MaxWait)
		}
		return nil
	},
	Strict: true,
}

func main() {
	region := flag.String("region", "", "the region's `directory`; $STATESYNC_REGION or the default region if empty")
	flag.Parse()
	if err := run(*region); err != nil {
		fmt.Fprintln(os.Stderr, "app:", err)
		os.Exit(1)
	}
}

func run(region string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	c, err := client.Open(region, client.Wait(30*time.Second))
	if err != nil {
		return err
	}
	defer c.Close()
	matchmaker := client.Bind(c, "matchmaker", options)

	go func() {
		for change := range c.Watch(ctx, "matchmaker") {
			elo, err := change.Doc.Int("weights.elo")
			if err != nil {
				fmt.Println("app: ", err)
				continue
			}
			fmt.Printf("saw %d: generation %d, weights.elo %d\n", time.Now().UnixNano(), change.To, elo)
		}
	}()

	for ctx.Err() == nil {
		serve(c, matchmaker)
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
	return nil
}

// serve reads the settings as requests would, in both ways, and prints what a
// read costs.
func serve(c *client.Client, matchmaker *client.Binding[Matchmaker]) {
	const requests = 10_000_000
	sum := 0
	start := time.Now()
	for range requests {
		sum += matchmaker.Get().Weights.Elo // follows: the newest that has arrived
	}
	following := time.Since(start)
	start = time.Now()
	for range requests {
		snapshot := c.Snapshot() // exact: one generation for all of a request
		sum += matchmaker.In(snapshot).Weights.Elo
	}
	exact := time.Since(start)
	daemon := "alive"
	if !c.Stats().DaemonAlive {
		daemon = "dead"
	}
	fmt.Printf("read %d times: following %.2f ns, exact %.2f ns a read; weights.elo averages %d; the daemon is %s\n",
		2*requests, float64(following.Nanoseconds())/requests, float64(exact.Nanoseconds())/requests, sum/(2*requests), daemon)
}
