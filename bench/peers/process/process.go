// Package process runs parts of one program as processes of their own: the
// servers, the readers and the writers of a comparison, each with its own heap
// and its own threads.
//
// A part is registered by name in an init function or a package's variable.
// Main, called first in main and in TestMain, runs the part when the process is
// one. A part lives until its standard input ends, which is at the latest when
// the process that started it dies, so that nothing stays behind.
package process

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
)

// env names the part that a process is to be.
const env = "STATESYNC_PEERS_PART"

// A Part is what a process does. Its context ends when the process is to stop.
// What it writes to out is what its starter reads.
type Part func(ctx context.Context, args []string, in *bufio.Reader, out io.Writer) error

var parts = map[string]Part{}

// Register makes a part known. It returns the name, to start it by.
func Register(name string, part Part) string {
	if _, taken := parts[name]; taken {
		panic("process: two parts are called " + name)
	}
	parts[name] = part
	return name
}

// Main returns at once in a process that is not a part. In one that is, it does
// the part and exits.
func Main() {
	name := os.Getenv(env)
	if name == "" {
		return
	}
	part, ok := parts[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "%s: there is no part %q in this program\n", os.Args[0], name)
		os.Exit(2)
	}
	// What the starter writes is passed on, so that a part learns of the end
	// whether it reads or not.
	ctx, cancel := context.WithCancel(context.Background())
	in, feed := io.Pipe()
	go func() {
		_, err := io.Copy(feed, os.Stdin)
		cancel()
		_ = feed.CloseWithError(errors.Join(err, io.EOF))
	}()
	if err := part(ctx, os.Args[1:], bufio.NewReader(in), os.Stdout); err != nil && ctx.Err() == nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Ready is how a part says that it is up, and where. Start waits for it.
func Ready(out io.Writer, address string) error {
	_, err := fmt.Fprintf(out, "ready %s\n", strconv.Quote(address))
	return err
}
