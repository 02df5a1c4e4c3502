// Peers measures StateSync against everything that one would pick instead, and
// writes the results as a document with charts. It is what `make bench-peers`
// runs; see its --help.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/statesync/statesync/bench/peers/process"
	"github.com/statesync/statesync/bench/peers/report"
)

const help = `Measures StateSync against everything that one would pick instead.

	go run . [flags]        (in bench/peers)

It starts every server that it needs on loopback or a unix socket, each as a
process of its own that ends with it: redis-server from Debian's package (as
root it installs that, and strace), etcd, NATS, an HTTP agent, a gRPC service.

It writes RESULTS.md, charts/*.svg and results.json into the folder of --out.
results.json has every figure of every round. A run measures all, or what --only
names, and then words the document anew from all that is in results.json. A section
that is not there stays in the document as it is:

	go run . --list                      what there is to measure
	go run . --only reading              one section
	go run . --only viper,koanf          two contestants, in each section
	go run . --only visible,etcd         one contestant in one section
	go run . --rounds 1 --updates 20 --out /tmp/try     a quick look
	go run . --render                    word the document anew, measure nothing

Figures are medians of rounds, in which the contestants take turns. Leave the
machine alone meanwhile: a document names the load it was measured under.

Flags:
`

// flags are what the user asked for.
type flags struct {
	out     string
	only    string
	rounds  int
	updates int
	list    bool
	render  bool
}

func main() {
	process.Main()
	var f flags
	set := flag.NewFlagSet("peers", flag.ContinueOnError)
	set.SetOutput(os.Stdout)
	set.StringVar(&f.out, "out", "..", "the `folder` for RESULTS.md, charts and results.json")
	set.StringVar(&f.only, "only", "", "measure only these sections and contestants, by `name`, separated by commas")
	set.IntVar(&f.rounds, "rounds", 5, "how often each figure is taken")
	set.IntVar(&f.updates, "updates", 500, "how many changes a time from change to visible comes from, over all rounds")
	set.BoolVar(&f.list, "list", false, "list sections and contestants, and end")
	set.BoolVar(&f.render, "render", false, "measure nothing, and word the document anew")
	set.Usage = func() {
		fmt.Fprint(set.Output(), help)
		set.PrintDefaults()
	}
	switch err := set.Parse(os.Args[1:]); {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := execute(ctx, f, set.Args(), os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func execute(ctx context.Context, f flags, args []string, out, log io.Writer) error {
	switch {
	case len(args) > 0:
		return fmt.Errorf("unexpected argument %q; see --help", args[0])
	case f.rounds < 1 || f.updates < f.rounds:
		return errors.New("--rounds must be at least 1, and --updates at least as many")
	case f.list:
		list(out)
		return nil
	}
	wanted, contestants, err := choose(f.only)
	if err != nil {
		return err
	}
	results, err := report.Load(f.out)
	if err != nil {
		return err
	}
	if !f.render {
		if err := measure(ctx, f, wanted, contestants, results, log); err != nil {
			return err
		}
	}
	return results.Save(f.out, sections)
}

func list(out io.Writer) {
	for _, s := range sections {
		fmt.Fprintf(out, "%s: %s\n\t%s\n", s.Name(), s.Title(), strings.Join(s.Contestants(), " "))
	}
}

// choose takes --only apart: the sections to measure, and the contestants in
// them, of which none means all.
func choose(only string) (wanted []report.Section, contestants []string, err error) {
	var named []string
	for name := range strings.SplitSeq(only, ",") {
		known := name == ""
		for _, s := range sections {
			if s.Name() == name {
				named, known = append(named, name), true
			}
		}
		if known {
			continue
		}
		for _, s := range sections {
			known = known || slices.Contains(s.Contestants(), name)
		}
		if !known {
			return nil, nil, fmt.Errorf("--only %s: there is no such section or contestant; see --list", name)
		}
		contestants = append(contestants, name)
	}
	for _, s := range sections {
		has := func(name string) bool { return slices.Contains(s.Contestants(), name) }
		if (len(named) == 0 || slices.Contains(named, s.Name())) && (len(contestants) == 0 || slices.ContainsFunc(contestants, has)) {
			wanted = append(wanted, s)
		}
	}
	if len(wanted) == 0 {
		return nil, nil, fmt.Errorf("--only %s: no such section has such a contestant; see --list", only)
	}
	return wanted, contestants, nil
}

// measure measures the wanted sections, and saves after each, so that a run
// that is broken off keeps what it has.
func measure(ctx context.Context, f flags, wanted []report.Section, contestants []string, results *report.Results, log io.Writer) (err error) {
	for _, s := range wanted {
		if len(contestants) > 0 && results.Old(s.Name()) == nil && results.Stands(s) {
			return fmt.Errorf("results.json has no figures of the section %s, and RESULTS.md has some of contestants that this run leaves out; "+
				"measure the whole section, or give another folder with --out", s.Name())
		}
	}
	run := &report.Run{Only: contestants, Rounds: f.rounds, Updates: f.updates, Log: log, Begun: time.Now()}
	if run.Dir, err = os.MkdirTemp("", "statesync-peers-"); err != nil {
		return err
	}
	defer os.RemoveAll(run.Dir)
	if run.Shm, err = os.MkdirTemp("/dev/shm", "statesync-peers-"); err != nil {
		return err
	}
	defer os.RemoveAll(run.Shm)
	command := "go run . --rounds " + fmt.Sprint(f.rounds) + " --updates " + fmt.Sprint(f.updates)
	if f.only != "" {
		command += " --only " + f.only
	}
	for _, s := range wanted {
		run.Say("section %s: %s", s.Name(), s.Title())
		m := &report.Measured{When: time.Now(), Command: command, Machine: report.ThisMachine()}
		var old json.RawMessage
		if len(contestants) > 0 {
			old = results.Old(s.Name())
		}
		if m.Raw, err = s.Measure(ctx, run, old); err != nil {
			return fmt.Errorf("section %s: %w", s.Name(), err)
		}
		results.Sections[s.Name()] = m
		if err := results.Save(f.out, sections); err != nil {
			return err
		}
	}
	run.Say("done; see %s/RESULTS.md", f.out)
	return nil
}
