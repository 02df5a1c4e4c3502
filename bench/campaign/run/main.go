// Command run has all campaigns try for a stated time to hurt a reader, and
// ends with a line for each promise: what was tried, and what was lost. See
// `make campaign` and docs/RELIABILITY.md.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

func main() {
	total := flag.Duration("for", time.Hour, "how long all campaigns together may take, about")
	only := flag.String("only", "", "run the steps whose names match this `regexp` only")
	seed := flag.Uint64("seed", 0, "what all that is tried by chance follows from; 0 is another one each time")
	flag.Parse()
	if *seed == 0 {
		*seed = rand.Uint64N(1<<62) + 1
	}
	steps, err := plan(*total, *seed)
	if err == nil {
		steps, err = chosen(steps, *only)
	}
	if err == nil {
		fmt.Printf("== seed %d: make campaign FOR=%v SEED=%d tries the same again\n", *seed, *total, *seed)
		err = run(steps)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "campaign:", err)
		os.Exit(1)
	}
}

// step is one campaign.
type step struct {
	name string
	args []string // of go test
	env  string   // one variable more
}

const (
	// killsPerSecond is what two processors do, about.
	killsPerSecond = 3
	// sourceRoundsPerSecond is what they do of the campaign of sources.
	sourceRoundsPerSecond = 0.5
	// thorough is the time from which on all is tried to its end that has one. In
	// less time a part of it is, and the models are left to `make model`.
	thorough = 50 * time.Minute
)

// plan shares the time out. What is tried to its end takes what it takes, some
// thirty minutes in all, or a fourth of a shorter time; the rest is shared by
// those that never end.
func plan(total time.Duration, seed uint64) ([]step, error) {
	rest := total - 30*time.Minute
	if total < thorough {
		rest = total * 3 / 5
	}
	part := func(of float64) time.Duration { return time.Duration(float64(rest) * of).Round(time.Second) }
	campaign := func(name, run string, flags ...string) step {
		args := []string{"-timeout=0", "-v", "-count=1", "-run=" + run, "./bench/campaign", "-args", fmt.Sprintf("-campaign.seed=%d", seed)}
		return step{name: name, args: append(args, flags...)}
	}
	seconds := func(d time.Duration) float64 { return d.Seconds() }
	steps := []step{
		campaign("crash", "^TestCrash$", fmt.Sprintf("-crash.kills=%.0f", killsPerSecond*seconds(part(0.15)))),
		campaign("acts", "^TestActs$", fmt.Sprintf("-acts.kills=%.0f", killsPerSecond*seconds(part(0.10)))),
		campaign("sources", "^TestSources", fmt.Sprintf("-sources.rounds=%.0f", sourceRoundsPerSecond*seconds(part(0.08)))),
		campaign("long", "^TestLongRun", "-longrun.for="+part(0.20).String(), "-longrun.readers=50", "-longrun.look=10ms", "-longrun.jump"),
		campaign("metamorphic", "^TestMetamorphic", "-metamorphic.for="+part(0.12).String()),
		{name: "user code", args: []string{"-timeout=0", "-v", "-count=1", "-race", "-run=UserCode|Validator|Hook", "./client"}},
	}
	if total < thorough {
		steps = append(steps,
			campaign("memory", "^TestMemory", "-memory.sizes=20", "-memory.harms=37", "-memory.flips=20000"),
			campaign("trust", "^TestTrust", "-trust.squats=18", "-trust.publications=5", "-trust.touched=3"),
			campaign("together", "^TestTogether$", "-together.updates=100000"),
			campaign("starve", "^TestStarve", "-starve.all"),
		)
	} else {
		steps = append(steps,
			step{name: "model", args: []string{"-timeout=0", "-v", "-count=1", "./seqlock", "./seqlock/model", "-args", "-full"}},
			campaign("memory", "^TestMemory", "-memory.sizes=140", "-memory.harms=74", "-memory.flips=0", "-memory.room=4", "-memory.limits=12", "-memory.minute"),
			campaign("trust", "^TestTrust", "-trust.squats=18", "-trust.publications=20", "-trust.touched=10", "-trust.bound=1s"),
			campaign("flood", "^TestLongRun$", "-longrun.for=1m", "-longrun.rate=1000", "-longrun.readers=50", "-longrun.look=10ms"),
			campaign("together", "^TestTogether$", "-together.updates=1000000"),
			campaign("starve", "^TestStarve", "-starve.long"),
			step{name: "history", args: []string{"-timeout=0", "-v", "-count=1", "./daemon/history", "-args", "-history.long"}},
			campaign("versions", "^TestVersions$"),
			campaign("arm64", "^TestArm64$", "-arm64.all"),
		)
	}
	packages, err := shortened(".")
	if err != nil {
		return nil, err
	}
	steps = append(steps, step{name: "not short", args: append([]string{"-timeout=0", "-count=1", "-race"}, packages...)})
	targets, err := fuzzTargets(".")
	if err != nil {
		return nil, err
	}
	for _, target := range targets {
		dir, fuzz := filepath.Split(target)
		steps = append(steps, step{name: "fuzz " + fuzz, env: fmt.Sprintf("GODEBUG=fuzzseed=%d", int64(seed)), args: []string{
			"-run=^$", "-fuzz=^" + fuzz + "$",
			"-fuzztime=" + (part(0.35) / time.Duration(len(targets))).Round(time.Second).String(), "-fuzzminimizetime=200x", "./" + dir,
		}})
	}
	return steps, nil
}

var fuzzTarget = regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`)

// fuzzTargets are those of the module in a directory: "shm/image/FuzzOpen".
func fuzzTargets(root string) (targets []string, err error) {
	return targets, eachTest(root, func(path string, text []byte) {
		for _, found := range fuzzTarget.FindAllSubmatch(text, -1) {
			targets = append(targets, filepath.Join(filepath.Dir(path), string(found[1])))
		}
	})
}

var asksShort = regexp.MustCompile(`testing\.Short\(\)|shmtest\.(Times|Some)\(`)

// shortened are the packages of the module in a directory with tests that try less with
// -short, as `make test` runs them: "./client".
func shortened(root string) (packages []string, err error) {
	err = eachTest(root, func(path string, text []byte) {
		if asksShort.Match(text) {
			packages = append(packages, "./"+filepath.Dir(path))
		}
	})
	return slices.Compact(packages), err
}

// eachTest calls f for each file of tests of the module in a directory.
func eachTest(root string, f func(path string, text []byte)) error {
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil && path != root {
				return fs.SkipDir // another module
			}
			return nil
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err == nil {
			f(path, text)
		}
		return err
	})
}

func chosen(steps []step, only string) ([]step, error) {
	pattern, err := regexp.Compile(only)
	if err != nil {
		return nil, err
	}
	var some []step
	for _, s := range steps {
		if pattern.MatchString(s.name) {
			some = append(some, s)
		}
	}
	if len(some) == 0 {
		return nil, fmt.Errorf("no campaign is called %s", only)
	}
	return some, nil
}

// promise is what a campaign reports; see report in package campaign.
type promise struct{ what, tried, lost string }

var errLost = errors.New("something was lost; see above")

func run(steps []step) error {
	var promises []promise
	var failed error
	for n, s := range steps {
		fmt.Printf("== %d of %d, %s: %s go test %s\n", n+1, len(steps), s.name, s.env, strings.Join(s.args, " "))
		began := time.Now()
		kept, err := s.run(os.Stdout)
		took := time.Since(began).Round(time.Second)
		fmt.Printf("== %s: %v\n", s.name, took)
		if err != nil {
			failed = errLost
			kept = append(kept, promise{s.name, took.String(), "FAILED: " + err.Error()})
		} else if len(kept) == 0 {
			kept = append(kept, promise{s.name, took.String(), "nothing"})
		}
		promises = append(promises, kept...)
	}
	fmt.Println()
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "promise\ttried\tlost")
	for _, p := range promises {
		fmt.Fprintf(w, "%s\t%s\t%s\n", p.what, p.tried, p.lost)
	}
	return errors.Join(w.Flush(), failed)
}

var (
	promised = regexp.MustCompile(`promise: (.*) \| tried: (.*) \| lost: (.*)`)
	fuzzed   = regexp.MustCompile(`execs: (\d+)`)

	// What go test says if a target fails: the input, or what became of its process.
	fuzzFound = regexp.MustCompile(`Failing input written|To re-run:|hung or terminated|panic:|_test\.go:\d+:`)
)

// fuzzRanOut is all that go test says of a failure if the time of fuzzing ends while a
// worker is busy. That is no finding, and comes now and then on a busy machine.
const fuzzRanOut = "    context deadline exceeded"

// run shows what a campaign writes, and returns what it promised.
func (s step) run(out io.Writer) (kept []promise, err error) {
	cmd := exec.Command("go", append([]string{"test"}, s.args...)...)
	cmd.Stderr = os.Stderr
	if s.env != "" {
		cmd.Env = append(os.Environ(), s.env)
	}
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, err
	}
	execs, ranOut, found := 0, false, false
	scanner := bufio.NewScanner(stdout)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		line := scanner.Text()
		_, _ = fmt.Fprintln(out, line)
		if m := promised.FindStringSubmatch(line); m != nil {
			kept = append(kept, promise{m[1], m[2], m[3]})
		}
		if m := fuzzed.FindStringSubmatch(line); m != nil {
			execs, _ = strconv.Atoi(m[1])
		}
		ranOut = ranOut || line == fuzzRanOut
		found = found || fuzzFound.MatchString(line)
	}
	failed := cmd.Wait()
	if strings.HasPrefix(s.name, "fuzz ") {
		if ranOut && !found {
			failed = nil
		}
		if failed == nil && execs == 0 {
			failed = errors.New("no input was tried")
		}
		if failed == nil {
			kept = append(kept, promise{"no input crashes or misleads: " + s.name, fmt.Sprintf("%d inputs", execs), "nothing"})
		}
	}
	return kept, errors.Join(err, scanner.Err(), failed)
}
