//go:build linux

package campaign

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

var starveAll = flag.Bool("starve.all", false, "starve a daemon in all ways, and not only by a parser that panics or never ends")

// starves skips what takes long for a test that is always run.
func starves(t *testing.T) {
	t.Helper()
	if !*starveAll && !*starveLong {
		t.Skip("make campaign runs it")
	}
}

var starveLong = flag.Bool("starve.long", false, "have the daemon decode inputs of full size: 10,000 bad files, 64 MiB of YAML; each with one and with all processors")

// starveInput is what keeps a worker busy.
type starveInput struct {
	name  string
	files func(salt int) map[string]string // other ones for each salt
	spare int64                            // how many MiB the cgroup has beside what the daemon uses
	reads int64                            // how many MiB more in the long form, as files are read before there is a look at the cgroup
	// whole says that the input refuses what the layers come to together, and not
	// only the newest snapshot of its layer.
	whole bool
}

var starveInputs = []starveInput{
	{name: "errors", spare: 64, files: starveErrors},
	{name: "dense", spare: 64, files: starveDense},
	{name: "schema", spare: 64, files: func(salt int) map[string]string { return starveSchemas(salt, 17) }},
	// What it violates takes memory that is not estimated: 272 MiB for a config.
	{name: "endless schema", spare: 128, files: func(salt int) map[string]string { return starveSchemas(salt, 60) }, whole: true},
}

// size is a number for the long form, or else for the short one.
func size(long, short int) int {
	if *starveLong {
		return long
	}
	return short
}

// starveErrors are files with five errors each: keys that are there twice.
func starveErrors(salt int) map[string]string {
	files := map[string]string{}
	for n := range size(10_000, 1000) {
		var text strings.Builder
		for key := range 5 {
			fmt.Fprintf(&text, "key%d: %d\nkey%d: %d\n", key, salt, key, n)
		}
		files[fmt.Sprintf("errors/%d/%d.yaml", n%100, n)] = text.String()
	}
	return files
}

// starveDense are YAML files of small keys.
func starveDense(salt int) map[string]string {
	files := map[string]string{}
	most := size(4<<20, 1<<20)
	for n := range size(16, 2) {
		var text strings.Builder
		for key := 0; text.Len() < most-16; key++ {
			fmt.Fprintf(&text, "k%07d: %d\n", key, salt%10)
		}
		files[fmt.Sprintf("dense/%d.yaml", n)] = text.String()
	}
	return files
}

// starveSchemas are configs with schemas that take 2^depth steps, about, until they are
// stopped: each definition asks for the next one twice. Each has a large enumeration
// and expressions besides.
func starveSchemas(salt, depth int) map[string]string {
	var definitions, enum, patterns []string
	for n := range depth {
		kind := []string{"allOf", "anyOf"}[n%2]
		if n%2 == 1 && depth < 30 { // of what is valid, anyOf looks at the first alone
			kind = "allOf"
		}
		definitions = append(definitions, fmt.Sprintf(`"d%d":{%q:[{"$ref":"#/$defs/d%d"},{"$ref":"#/$defs/d%d"}]}`, n, kind, n+1, n+1))
	}
	last := `true`
	if depth >= 30 {
		last = `false`
	}
	definitions = append(definitions, fmt.Sprintf(`"d%d":%s`, depth, last))
	for n := range size(40_000, 10_000) {
		enum = append(enum, strconv.Itoa(n))
	}
	for n := range 20 {
		patterns = append(patterns, fmt.Sprintf(`{"pattern":"^(a|aa|a?){%d}x*$"}`, 10+n))
	}
	schema := fmt.Sprintf(`{"$defs":{%s},"$ref":"#/$defs/d0","properties":{"n":{"enum":[%s]},"s":{"allOf":[%s]}}}`,
		strings.Join(definitions, ","), strings.Join(enum, ","), strings.Join(patterns, ","))
	files := map[string]string{}
	for n := range size(20, 1) {
		name := fmt.Sprintf("schema/%d", n)
		files[name+".schema.json"] = schema
		files[name+".json"] = fmt.Sprintf(`{"n":%d,"s":%q}`, salt%5000, strings.Repeat("a", 15))
	}
	return files
}

// starveFlags have room for all inputs.
var starveFlags = []string{"--slots=2", "--max-image=1GiB"}

// TestStarve has the daemon decode a heavy layer. Meanwhile its heart beats, commands
// and readers go on, and a change of the other layer waits for the worker and no
// longer. SIGTERM ends the daemon in the middle, and the next one goes on.
func TestStarve(t *testing.T) {
	starves(t)
	var figures []string
	runs, looks, answers := 0, 0, 0
	for i, input := range starveInputs {
		for _, processors := range []string{"", "1"} {
			if !*starveLong && (i%2 == 0) != (processors == "1") {
				continue
			}
			name := input.name
			if processors != "" {
				name += ", GOMAXPROCS=" + processors
			}
			t.Run(name, func(t *testing.T) {
				h := newStarveHost(t, starveFlags...)
				if processors != "" {
					h.env = append(h.env, "GOMAXPROCS="+processors)
				}
				w, good, end := h.starve(t, input)
				runs, looks, answers = runs+1, looks+w.looks, answers+w.answers
				figures = append(figures, fmt.Sprintf("%s: heartbeat %s, command %s, good change %s, SIGTERM %s", name,
					w.gap.Round(time.Millisecond), w.slowest.Round(time.Millisecond), good.Round(time.Millisecond), end.Round(time.Millisecond)))
			})
		}
	}
	if !t.Failed() {
		report(t, "whatever a layer takes to decode, the daemon's heart beats, it answers and ends, and other layers move on after it",
			fmt.Sprintf("%d runs; %d looks at the heartbeat, %d commands; at most (%s)", runs, looks, answers, strings.Join(figures, "; ")), "nothing")
	}
}

// starve tries one input. It returns how long a good change took to its readers, and
// how long the daemon took to end.
func (h *starveHost) starve(t *testing.T, input starveInput) (w *starveWatch, good, end time.Duration) {
	t.Helper()
	h.start()
	h.reader = memoryRead(t, h.region)
	h.reads("at first")

	w = h.watch()
	h.load(input.files(1))
	changed := time.Now()
	h.publish(100)
	if input.whole {
		// A schema that fails refuses the combination. So the change is refused with it.
		h.lasts("a refusal", func() bool { h.alive(); return h.refusals() > 0 })
		h.swap(nil)
	}
	h.reads("the good layer's change")
	good = time.Since(changed)
	w.end()

	w.middle = h.load(input.files(2))
	end = h.terminate()
	if !strings.Contains(h.daemon.log(), "signal=terminated") {
		t.Errorf("the daemon ended by itself:\n%s", h.daemon.log())
	}

	h.start()
	h.swap(nil)
	h.publish(100)
	h.reads("after a restart")
	h.terminate()
	h.reader.end()
	return w, good, end
}

// TestStarveCgroup gives a daemon in a memory cgroup heavy inputs, of which some need
// more memory than it has. Each is published or refused, and no process is killed. What
// does not fit is refused together with the other layer's change, which is published
// once the heavy layer is small again.
func TestStarveCgroup(t *testing.T) {
	starves(t)
	const mib = 1 << 20
	var came []string
	for _, input := range starveInputs {
		if input.whole && !*starveLong {
			continue // with so much memory it differs little from TestStarve
		}
		t.Run(input.name, func(t *testing.T) {
			cgroup, limit, usage := memoryCgroup(t)
			h := newStarveHost(t, "--slots=2", "--max-image=64MiB")
			h.start()
			ok(t, os.WriteFile(filepath.Join(cgroup, "cgroup.procs"), []byte(strconv.Itoa(h.daemon.Process.Pid)), 0o644))
			h.reader = memoryRead(t, h.region)
			h.reads("at first")
			h.publish(100)
			h.reads("without a limit")
			spare := input.spare
			if *starveLong {
				spare += input.reads
			}
			room := memoryNumber(t, usage) + spare*mib
			ok(t, os.WriteFile(limit, []byte(strconv.FormatInt(room, 10)), 0o644))

			w := h.watch()
			h.swap(input.files(1))
			refused := false
			h.lasts("a verdict", func() bool {
				h.alive()
				s, err := h.ask()
				refused = h.refusals() > 0
				return refused || err == nil && s.Converged && s.Configs > 4
			})
			began, err := h.ask()
			ok(t, err)
			h.publish(100)
			moves := false
			h.lasts("a verdict on the good layer's change", func() bool {
				h.alive()
				exact, _, _ := h.reader.numbers()
				moves = exact == h.number
				// Two looks later its first was at the change.
				s, err := h.ask()
				return moves || err == nil && s.PlanningSince == nil && s.Problem != "" && s.Layers[0].Looks > began.Layers[0].Looks+2
			})
			s, err := h.ask()
			ok(t, err)
			problem := s.Problem
			h.swap(nil)
			h.reads("without the heavy layer")
			w.end()
			what := map[bool]string{false: "published", true: "refused"}[refused]
			what += map[bool]string{false: ", the good change is held with it", true: ", the good change is published"}[moves]
			t.Logf("%s; the problem is %q", what, problem)
			came = append(came, fmt.Sprintf("%s, %d MiB to spare: %s", input.name, spare, what))
			h.alive()
			h.reader.end()
			h.terminate()
			ok(t, os.WriteFile(limit, []byte("-1"), 0o644))
			_ = os.Remove(cgroup)
		})
	}
	if !t.Failed() && len(came) > 0 {
		report(t, "a heavy layer in a memory cgroup kills no process", strings.Join(came, "; "), "nothing")
	}
}
