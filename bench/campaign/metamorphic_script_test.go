//go:build linux

package campaign

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A script has one operation per line. Operations that are not possible at their
// place are skipped; see metaModel.possible.
//
//	write CONFIG N     its file is written in place; N is what the config says
//	rename CONFIG N    a new file takes its place
//	delete CONFIG      the layer below shows, if it has the config
//	mask CONFIG        its file is null, so that the layer below does not show
//	under CONFIG N     the layer below has it; N shows where the source has no file
//	bare CONFIG        the layer below no longer has it
//	break CONFIG HOW   yaml, empty, schema, twice: nothing is published until it is repaired
//	mend CONFIG
//	start SLOTS        the daemon; 0, 1, 2 is an index into the setting's numbers of slots
//	term, kill, hup    SIGTERM, SIGKILL, SIGHUP
//	region HOW         delete, truncate, remove (with its directory)
//	sync               wait until the daemon has seen it all; every client has it now
//	open CLIENT        opens a client, and "lazy CLIENT" one that needs no region
//	close CLIENT
//	bind CLIENT CONFIG
//	watch CLIENT CONFIG
//	snap CLIENT        reads all configs by one snapshot, and all bindings
//	get CLIENT CONFIG
//	hold CLIENT        keeps a snapshot, which each later snap reads again
type metaOp []string

func (o metaOp) verb() string { return o[0] }

func (o metaOp) arg(n int) string {
	if n+1 < len(o) {
		return o[n+1]
	}
	return ""
}

func (o metaOp) number(n int) int {
	i, _ := strconv.Atoi(o.arg(n))
	return i
}

func (o metaOp) String() string { return strings.Join(o, " ") }

func parseScript(text string) (ops []metaOp) {
	for line := range strings.Lines(text) {
		if line, _, _ = strings.Cut(line, "#"); strings.TrimSpace(line) != "" {
			ops = append(ops, strings.Fields(line))
		}
	}
	return ops
}

func scriptText(ops []metaOp) string {
	var text strings.Builder
	for _, op := range ops {
		fmt.Fprintln(&text, op)
	}
	return text.String()
}

// metaConfigs are the configs of a script, beside "sync", which is written at
// each sync.
var metaConfigs = []string{"a", "b", "team/c"}

// metaVerbs are how often each operation comes.
var metaVerbs = map[string]int{
	"write %c %n": 6, "rename %c %n": 12, "delete %c": 6, "mask %c": 3, "under %c %n": 8, "bare %c": 3, "break %c yaml": 2, "break %c empty": 1, "break %c schema": 2,
	"break %c twice": 1, "mend %c": 8, "start %s": 8, "term": 2, "kill": 3, "hup": 2, "region delete": 1, "region truncate": 1,
	"region remove": 1, "sync": 12, "open %k": 4, "lazy %k": 3, "close %k": 2, "bind %k %c": 6, "watch %k %c": 5,
	"snap %k": 16, "get %k %c": 8, "hold %k": 3,
}

// generate makes a script of n possible operations.
func generate(seed uint64, n int) []metaOp {
	random := rand.New(rand.NewPCG(seed, 9))
	var verbs []string
	for _, verb := range slices.Sorted(maps.Keys(metaVerbs)) {
		for range metaVerbs[verb] {
			verbs = append(verbs, verb)
		}
	}
	ops := parseScript("rename a 1\nstart 0\nsync\nopen x")
	m := newMetaModel()
	clients := map[string]bool{"x": true}
	for _, op := range ops {
		m.apply(op)
	}
	m.settled(len(m.history) - 1)
	for value := 2; len(ops) < n; {
		text := verbs[random.IntN(len(verbs))]
		text = strings.ReplaceAll(text, "%c", metaConfigs[random.IntN(len(metaConfigs))])
		text = strings.ReplaceAll(text, "%s", strconv.Itoa(random.IntN(3)))
		text = strings.ReplaceAll(text, "%k", []string{"x", "y", "z"}[random.IntN(3)])
		text = strings.ReplaceAll(text, "%n", strconv.Itoa(value))
		op := metaOp(strings.Fields(text))
		switch op.verb() {
		case "open", "lazy":
			if clients[op.arg(0)] {
				continue
			}
			clients[op.arg(0)] = true
		case "close", "bind", "watch", "snap", "get", "hold":
			if !clients[op.arg(0)] {
				continue
			}
			clients[op.arg(0)] = op.verb() != "close"
		case "write", "rename", "under":
			value++
		}
		if !m.possible(op) {
			continue
		}
		m.apply(op)
		if op.verb() == "sync" {
			m.ready, m.damaged, m.moved = true, false, false
			m.settled(len(m.history) - 1)
		}
		ops = append(ops, op)
	}
	// In the end all is well, or it cannot be repaired.
	for _, c := range metaConfigs {
		ops = append(ops, metaOp{"mend", c})
	}
	return append(ops, metaOp{"start", "0"}, metaOp{"sync"})
}

// reduce removes operations as long as the rest still fails: first halves, at the end
// single ones.
func reduce(ops []metaOp, until time.Time, fails func([]metaOp) bool) []metaOp {
	for size := (len(ops) + 1) / 2; size > 0; {
		smaller := false
		for at := 0; at < len(ops) && time.Now().Before(until); {
			end := min(at+size, len(ops))
			rest := append(append([]metaOp(nil), ops[:at]...), ops[end:]...)
			if fails(rest) {
				ops, smaller = rest, true
			} else {
				at = end
			}
		}
		if size > 1 {
			size = (size + 1) / 2
		} else if !smaller {
			break
		}
		if time.Now().After(until) {
			break
		}
	}
	return ops
}
