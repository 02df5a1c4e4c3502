// Reading is run under strace by a test: it reads a million times between two
// syscalls that mark the beginning and the end.
package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/statesync/statesync/client"
)

type weights struct{ Elo int }

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(region string) error {
	c, err := client.Open(region)
	if err != nil {
		return err
	}
	defer c.Close()
	b := client.Bind[weights](c, "matchmaker")
	sum := b.In(c.Snapshot()).Elo
	if _, err := c.Get("matchmaker"); err != nil {
		return err
	}
	runtime.LockOSThread()
	debug.SetGCPercent(-1) // a collection is the program's, not the read's
	_ = os.Mkdir("/nowhere/begin", 0)
	for range 1_000_000 {
		s := c.Snapshot()
		sum += b.Get().Elo + b.In(s).Elo
		doc, err := c.Get("matchmaker")
		if err != nil {
			return err
		}
		sum += doc.IntOr("Elo", 0)
	}
	_ = os.Mkdir("/nowhere/end", 0)
	if sum == 0 {
		return fmt.Errorf("nothing was read")
	}
	return nil
}
