package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/perf/benchfmt"
)

// tree is a state of the project, built.
type tree struct {
	name   string
	root   string
	binary string
}

// key is a figure of a benchmark.
type key struct{ name, unit string }

// figures are what was measured of each, one value a round.
type figures map[key][]float64

// groups are the hot paths: what a reader runs per request, per change, and
// what the daemon runs per change. The first have a time, since one run takes
// nanoseconds, the second a number, since each takes a publication.
var groups = []struct{ bench, time string }{
	{"^Benchmark(Read|Publish)$", "100ms"},
	{"^Benchmark(Refresh|Decode)$", "200x"},
}

// build makes the benchmarks of a commit and of the working tree.
func build(ctx context.Context, dir, base string) ([2]tree, error) {
	top, err := output(ctx, ".", "git", "rev-parse", "--show-toplevel")
	if err != nil {
		return [2]tree{}, err
	}
	top = strings.TrimSpace(top)
	old := filepath.Join(dir, "base")
	if err := os.Mkdir(old, 0o755); err != nil {
		return [2]tree{}, err
	}
	archive := filepath.Join(dir, "base.tar")
	if _, err := output(ctx, top, "git", "archive", "--output", archive, base); err != nil {
		return [2]tree{}, err
	}
	if _, err := output(ctx, old, "tar", "-xf", archive); err != nil {
		return [2]tree{}, err
	}
	trees := [2]tree{{name: base, root: old}, {name: "working tree", root: top}}
	for n := range trees {
		t := &trees[n]
		t.binary = filepath.Join(dir, fmt.Sprintf("bench-%d.test", n))
		fmt.Fprintf(os.Stderr, "building %s\n", t.name)
		if _, err := output(ctx, t.root, "go", "test", "-c", "-o", t.binary, "./bench"); err != nil {
			return trees, err
		}
	}
	return trees, nil
}

// output runs a command and returns what it prints; an error says what it
// complained of.
func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s%s", cmd, err, &stdout, &stderr)
	}
	return stdout.String(), nil
}

// measure runs the benchmarks whose names match in both trees, in turns. A group
// without any is left out from the second round on.
func measure(ctx context.Context, trees [2]tree, rounds int, match *regexp.Regexp) ([2]figures, error) {
	found := [2]figures{{}, {}}
	wanted := make([]bool, len(groups))
	for round := range rounds {
		fmt.Fprintf(os.Stderr, "round %d of %d\n", round+1, rounds)
		for turn := range trees {
			n := (round + turn) % 2 // the trees take turns at being first
			for g, group := range groups {
				if round > 0 && !wanted[g] {
					continue
				}
				had := len(found[n])
				out, err := output(ctx, filepath.Join(trees[n].root, "bench"), trees[n].binary, "-test.run=^$",
					"-test.bench="+group.bench, "-test.benchtime="+group.time, "-test.benchmem")
				if err == nil {
					err = found[n].add(strings.NewReader(out), match)
				}
				if err != nil {
					return found, fmt.Errorf("%s: %w", trees[n].name, err)
				}
				wanted[g] = wanted[g] || len(found[n]) > had
			}
		}
	}
	return found, nil
}

// add takes in what a benchmark printed.
func (f figures) add(r io.Reader, match *regexp.Regexp) error {
	results := benchfmt.NewReader(r, "benchmark")
	for results.Scan() {
		switch rec := results.Result().(type) {
		case *benchfmt.SyntaxError:
			return rec
		case *benchfmt.Result:
			name := nameOf(rec.Name)
			if strings.Contains(name, "floor") || !match.MatchString(name) {
				continue
			}
			for _, v := range rec.Values {
				k := key{name, v.Unit}
				f[k] = append(f[k], v.Value)
			}
		}
	}
	return results.Err()
}

// nameOf is a benchmark's name without the number of processors.
func nameOf(name benchfmt.Name) string {
	base, parts := name.Parts()
	text := string(base)
	for _, part := range parts {
		if _, err := strconv.Atoi(strings.TrimPrefix(string(part), "-")); err == nil && part[0] == '-' {
			continue
		}
		text += string(part)
	}
	return text
}

// matching matches just the benchmarks of these lines.
func matching(lines []line) *regexp.Regexp {
	var names []string
	for _, l := range lines {
		names = append(names, regexp.QuoteMeta(l.name))
	}
	return regexp.MustCompile("^(" + strings.Join(names, "|") + ")$")
}
