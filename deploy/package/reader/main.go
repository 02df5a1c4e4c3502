// Command reader is an application for the packages' test: it reads a region
// until it is told to end, while the package around it is upgraded. It exits
// with 1 if anything was ever wrong: an error, an older generation than before,
// or another region.
//
//	reader CONFIG
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/statesync/statesync/client"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: reader CONFIG")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "reader:", err)
		os.Exit(1)
	}
}

func run(name string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	c, err := client.Open("", client.Wait(30*time.Second))
	if err != nil {
		return err
	}
	defer c.Close()
	first := c.Snapshot()
	fmt.Println("reading generation", first.Generation())
	last, reads := first, 0
	for ctx.Err() == nil {
		s := c.Snapshot()
		_, err := s.Get(name)
		switch {
		case err != nil:
			return err
		case s.Generation() < last.Generation():
			return fmt.Errorf("generation %d after %d", s.Generation(), last.Generation())
		case s.RegionID() != first.RegionID():
			return errors.New("the region was replaced by another")
		}
		if s.Generation() > last.Generation() {
			fmt.Println("reading generation", s.Generation())
		}
		last = s
		reads++
		time.Sleep(100 * time.Microsecond) // to be no load
	}
	if err := c.Stats().Err; err != nil {
		return err
	}
	fmt.Println("reads", reads)
	return nil
}
