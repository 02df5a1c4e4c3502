// Guard compares the hot paths of the working tree with those of a commit, on
// this machine and in one run, and fails where one became slower or allocates
// more. It is what `make bench-guard` runs.
//
//	go -C bench/guard run . [-base HEAD] [-rounds 10] [-slower 10] [-match regexp]
//
// Both trees are built first. Then their benchmarks take turns, round by round,
// so that a noisy moment of the machine hits both. A benchmark is slower when
// its median is by more than -slower per cent, the Mann-Whitney test of the
// rounds says that this is not chance, and both are true again in a second run of
// twice as many rounds.
//
// Exit codes: 0 nothing became worse, 1 something did or could not be measured,
// 2 the flags make no sense.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"
)

// errWorse says that the table has a line which is worse.
var errWorse = errors.New("something became worse: fix it, or say in the commit why it is worth that")

// options are the command's.
type options struct {
	base   string
	rounds int
	slower float64 // per cent
	match  *regexp.Regexp
}

func main() {
	var o options
	flag.StringVar(&o.base, "base", "HEAD", "the commit to compare with")
	flag.IntVar(&o.rounds, "rounds", 10, "how often each benchmark runs in each tree, at least 6")
	flag.Float64Var(&o.slower, "slower", 10, "how many per cent slower is a regression")
	match := flag.String("match", ".", "only benchmarks that match this `regexp`, such as Read/Snapshot")
	flag.Parse()
	var err error
	if o.match, err = regexp.Compile(*match); err != nil || o.rounds < 6 || o.slower <= 0 || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "guard: -rounds is at least 6, -slower above 0, -match a regexp, and there are no arguments; see -help")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err = run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "guard:", err)
		os.Exit(1)
	}
}

// run measures both trees, and once more where the first time is not clear.
func run(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "statesync-guard-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	trees, err := build(ctx, dir, o.base)
	if err != nil {
		return err
	}
	first, err := measure(ctx, trees, o.rounds, o.match)
	if err != nil {
		return err
	}
	lines := compare(first, o.slower)
	if len(lines) == 0 {
		return fmt.Errorf("no benchmark matches %q", o.match)
	}
	if suspects := worse(lines); len(suspects) > 0 {
		fmt.Fprintf(os.Stderr, "%d lines look worse; measured again, %d rounds\n", len(suspects), 2*o.rounds)
		again, err := measure(ctx, trees, 2*o.rounds, matching(suspects))
		if err != nil {
			return err
		}
		lines = replace(lines, compare(again, o.slower))
	}
	show(os.Stdout, o.base, lines)
	if len(worse(lines)) > 0 {
		return errWorse
	}
	return nil
}
